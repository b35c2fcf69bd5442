"""The conflicts of a merge that nobody has decided yet.

Finalize writes them into the new deployment's folder with the text that both sides came from, since
the older image may be collected long before somebody looks. One that the deployment before had, and
that is as it was, goes on into the new one; deciding it takes it out.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bootd.etc.accounts.mended import is_mended
from bootd.etc.disk.contents import Contents
from bootd.etc.disk.descriptors import chunks_of, closing, open_file, open_parent, opened_folder
from bootd.etc.disk.snapshot import scan_folder
from bootd.etc.rules.compare import same_content, same_metadata, same_type
from bootd.etc.rules.lines import is_text, unified
from bootd.etc.rules.settle import databases_in, databases_of
from bootd.model.deployment import DeploymentId
from bootd.model.errors import ProcessFailedError
from bootd.model.etc.change import OpenConflict, Undecided, UndecidedConflicts
from bootd.model.etc.report import (
    MAX_CONFLICTS,
    ConflictKind,
    EtcConflict,
    EtcReport,
    below_etc,
)
from bootd.model.tree import Directory, Node, RegularFile, lookup
from bootd.records import MAX_ETC_BYTES, read_record, write_record
from bootd.sysroot import Sysroot

UNDECIDED_NAME: Final = "etc-undecided.json"
MAX_BASE: Final = 256 << 10
"""Largest base text, in bytes, that is kept."""
MAX_BASES: Final = 8 << 20
"""Most bytes of base texts that are kept for one deployment."""
MAX_DIFF: Final = 64 << 10
"""Longest diff, in characters, that is shown of one side."""


def read_undecided(sysroot: Sysroot, deployment: DeploymentId) -> UndecidedConflicts:
    """Return what is undecided in a deployment's ``/etc``.

    Raises:
        DamagedRecordError: it cannot be read.
    """
    path = sysroot.deployment(deployment) / UNDECIDED_NAME
    return read_record(path, UndecidedConflicts, MAX_ETC_BYTES) or UndecidedConflicts()


def write_undecided(sysroot: Sysroot, folder: Path, undecided: Sequence[Undecided]) -> None:
    """Put what is undecided into a deployment's folder, durably."""
    record = UndecidedConflicts(conflicts=list(undecided[:MAX_CONFLICTS]))
    write_record(sysroot.disk, folder / UNDECIDED_NAME, record)


def undecided_after(
    report: EtcReport, base: Directory, contents: Contents, before: Sequence[Undecided]
) -> list[Undecided]:
    """Return what is undecided after a merge.

    Args:
        report: of the merge.
        base: its base.
        contents: where the base's contents come from.
        before: what was undecided before it.
    """
    room = MAX_BASES
    older = {_question(one.conflict): one for one in before}
    found = []
    for conflict in report.conflicts:
        known = older.get(_question(conflict))
        if known is not None:
            # Both sides went on from what they never agreed on.
            found.append(Undecided(conflict=conflict, base=known.base))
            continue
        text = _base_text(conflict, base, contents, room)
        room -= len(text or "")
        found.append(Undecided(conflict=conflict, base=text))
    asked = {_question(one.conflict) for one in found}
    kinds: dict[str, set[ConflictKind]] = {}
    for one in found:
        kinds.setdefault(one.conflict.path, {one.conflict.kind}).add(one.conflict.kind)
    return found + [
        one
        for one in before
        if _question(one.conflict) not in asked
        and _stands_beside(one.conflict.kind, kinds.get(one.conflict.path, set()))
    ]


def _stands_beside(older: ConflictKind, newer: set[ConflictKind]) -> bool:
    """Tell whether an older conflict is another question than newer ones at its path."""
    apart = {ConflictKind.CONTENT, ConflictKind.METADATA}
    return not newer or older is ConflictKind.ACCOUNT or newer | {older} <= apart


def _is_answered(kind: ConflictKind, here: Node | None, image: Node | None) -> bool:
    """Tell whether both sides agree in what a conflict is about."""
    match kind:
        case ConflictKind.DELETED_HERE:
            return here is not None or image is None
        case ConflictKind.DELETED_THERE:
            # One that the image has again was asked about anew.
            return here is None or image is not None
        case ConflictKind.METADATA:
            return here is None or image is None or same_metadata(here, image)
        case ConflictKind.TYPE:
            return same_type(here, image)
        case _:
            return same_content(here, image)


def _question(conflict: EtcConflict) -> tuple[str, ...]:
    """Return what tells conflicts apart; of user databases each row is its own question."""
    is_row = conflict.kind is ConflictKind.ACCOUNT
    return (conflict.path, conflict.kind, conflict.detail if is_row else "")


def still_open(
    undecided: Iterable[Undecided], etc: Path, defaults: Directory, contents: Contents
) -> list[Undecided]:
    """Return those conflicts that what the machine and the image have now does not answer."""
    listed = list(undecided)
    if not listed:
        return []
    live = scan_folder(etc, contents, (defaults,)).root
    with opened_folder(etc) as folder:
        here, image = databases_of(folder), databases_in(defaults, contents)

    def is_answered(conflict: EtcConflict) -> bool:
        path = below_etc(conflict.path)
        if conflict.kind is ConflictKind.ACCOUNT:
            return is_mended(os.fsdecode(path), conflict.detail, here, image)
        return _is_answered(conflict.kind, lookup(live, path), lookup(defaults, path))

    return [one for one in listed if not is_answered(one.conflict)]


def with_diffs(
    undecided: Iterable[Undecided],
    deployment: DeploymentId,
    etc: Path,
    theirs: Directory,
    contents: Contents,
) -> Iterator[OpenConflict]:
    """Yield the conflicts with a diff of each side against the base, where they are text.

    Args:
        undecided: the conflicts.
        deployment: where they stand.
        etc: what the machine has.
        theirs: what the image has.
        contents: where the image's contents come from.
    """
    for one in undecided:
        path = below_etc(one.conflict.path)
        base = None if one.base is None else base64.b64decode(one.base)
        if one.conflict.kind is not ConflictKind.CONTENT:
            base = None
        yield OpenConflict(
            deployment=deployment,
            conflict=one.conflict,
            diff_mine=_diff(base, own_text(etc, path), one.conflict.path, "here"),
            diff_theirs=_diff(
                base, image_text(lookup(theirs, path), contents), one.conflict.path, "image"
            ),
        )


def own_text(etc: Path, path: bytes) -> bytes | None:
    """Return a text of the machine; None where there is none, or it is large."""
    with (
        opened_folder(etc) as root,
        closing(open_parent(root, path)) as parent,
        closing(None if parent is None else open_file(path.rpartition(b"/")[2], parent)) as file,
    ):
        data = b"\0" if file is None else b"".join(chunks_of(file, MAX_BASE + 1))
    return data if len(data) <= MAX_BASE and is_text(data) else None


def image_text(node: Node | None, contents: Contents) -> bytes | None:
    """Return a text of an image; None where there is none, or it is large."""
    if not isinstance(node, RegularFile) or node.size > MAX_BASE:
        return None
    data = node.content
    if data is None:
        with closing(contents.open(node)) as file:
            assert file is not None
            data = b"".join(chunks_of(file, MAX_BASE))
    return data if is_text(data) else None


def _base_text(conflict: EtcConflict, base: Directory, contents: Contents, room: int) -> str | None:
    if conflict.kind is not ConflictKind.CONTENT:
        return None
    node = lookup(base, below_etc(conflict.path))
    data = b"" if node is None else image_text(node, contents)
    if data is None:
        return None
    text = base64.b64encode(data).decode()
    return text if len(text) <= room else None


def _diff(base: bytes | None, side: bytes | None, path: str, name: str) -> str:
    if base is None or side is None:
        return ""
    try:
        text = unified(base, side, (f"{path} (base)", f"{path} ({name})"))
    except ProcessFailedError as error:
        return f"{error.message}\n"
    return text if len(text) <= MAX_DIFF else text[:MAX_DIFF] + "\n…\n"
