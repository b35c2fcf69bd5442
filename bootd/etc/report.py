"""Decisions and differences as reports: bounded, printable, with digests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

from bootd.etc.disk.contents import Contents
from bootd.etc.disk.descriptors import (
    chunks_of,
    closing,
    errors_at,
    open_file,
    open_parent,
    opened_folder,
)
from bootd.etc.rules.plan import Conflict, Plan
from bootd.etc.rules.policy import NO_POLICIES, EtcPolicies
from bootd.model.etc.report import (
    MAX_CONFLICTS,
    MAX_NOTES,
    MAX_XATTRS,
    EtcConflict,
    EtcCounts,
    EtcNote,
    EtcReport,
    EtcSide,
    escape,
    etc_path,
)
from bootd.model.tree import Directory, Node, RegularFile, SpecialFile, Symlink

MAX_MEASURED: Final = 64 << 20
"""Largest file, in bytes, that is measured only to print its digest."""


def make_report(
    plan: Plan,
    folder: Path,
    contents: Contents,
    notes: Iterable[EtcNote] = (),
    policies: EtcPolicies = NO_POLICIES,
) -> EtcReport:
    """Return the report of a plan; `notes` are what came up while it was carried out.

    Args:
        plan: what was decided.
        folder: the machine's ``/etc``, to measure what the decision needed no digest of.
        contents: how contents are measured.
        notes: further remarks.
        policies: which conflicts matter for security; those come first.
    """
    remarks = [EtcNote(path=etc_path(path), kind=kind) for path, kind in plan.notes]
    remarks += notes
    conflicts = _loudest_first(plan.conflicts, policies)
    over = max(0, len(plan.conflicts) - MAX_CONFLICTS) + max(0, len(remarks) - MAX_NOTES)
    return EtcReport(
        counts=EtcCounts(
            conflicts=len(conflicts),
            security=sum(security for security, _ in conflicts),
            **{tally.value: count for tally, count in plan.tallies.items()},
        ),
        conflicts=[
            _conflict(conflict, folder, contents, security=security)
            for security, conflict in conflicts[:MAX_CONFLICTS]
        ],
        notes=remarks[:MAX_NOTES],
        truncated=over,
    )


def with_notes(report: EtcReport, notes: Sequence[EtcNote]) -> EtcReport:
    """Return a report with further remarks, first; it stays bounded."""
    remarks = [*notes, *report.notes]
    over = max(0, len(remarks) - MAX_NOTES)
    return report.model_copy(
        update={"notes": remarks[:MAX_NOTES], "truncated": report.truncated + over}
    )


def describe(node: Node | None, path: bytes, folder: Path, contents: Contents) -> EtcSide:
    """Return what a node is; one whose content is not known yet is read from `folder`."""
    if node is None:
        return EtcSide(type="absent")
    kind: Literal["file", "folder", "symlink", "special"]
    size, digest, target = None, None, None
    match node:
        case RegularFile():
            kind, size = "file", node.size
            digest = _digest(node, path, folder, contents)
        case Directory():
            kind = "folder"
        case Symlink():
            kind, target = "symlink", escape(node.target)
        case SpecialFile():
            kind = "special"
    metadata = node.metadata
    return EtcSide(
        type=kind,
        size=size,
        digest=digest.hex() if digest else None,
        target=target,
        mode=f"{metadata.permissions:04o}",
        uid=metadata.uid,
        gid=metadata.gid,
        xattrs={
            escape(name): sha256(value).hexdigest()
            for name, value in sorted(metadata.xattrs.items())[:MAX_XATTRS]
        },
    )


def _loudest_first(
    conflicts: Iterable[Conflict], policies: EtcPolicies
) -> list[tuple[bool, Conflict]]:
    marked = [(policies.matters_for_security(one.path), one) for one in conflicts]
    return sorted(marked, key=lambda pair: not pair[0])


def _conflict(
    conflict: Conflict, folder: Path, contents: Contents, *, security: bool
) -> EtcConflict:
    base, mine, theirs = (
        describe(node, conflict.path, folder, contents) for node in conflict.versions
    )
    return EtcConflict(
        path=etc_path(conflict.path),
        kind=conflict.kind,
        base=base,
        mine=mine,
        theirs=theirs,
        detail=conflict.detail,
        security=security,
    )


def _digest(node: RegularFile, path: bytes, folder: Path, contents: Contents) -> bytes | None:
    if node.verity is not None:
        return node.verity
    if node.content is not None:
        return contents.measure([node.content])
    if node.size <= MAX_MEASURED:
        # Kept, for where it is described again.
        node.verity = _measure(path, folder, contents)
    return node.verity


def _measure(path: bytes, folder: Path, contents: Contents) -> bytes | None:
    """Measure a file of the machine; None where it is gone by now."""
    with (
        opened_folder(folder) as root,
        errors_at("read", folder, path),
        closing(open_parent(root, path)) as parent,
        closing(None if parent is None else open_file(path.rpartition(b"/")[2], parent)) as file,
    ):
        return None if file is None else contents.measure(chunks_of(file, MAX_MEASURED))
