"""The merge as its callers see it: preview, merge, first fill.

A merge that was cut off leaves an unfinished target that nobody relies on; it is thrown away and
done again. The machine's own ``/etc`` is only ever read.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.etc.disk.account_lock import account_lock
from bootd.etc.disk.contents import Contents
from bootd.etc.disk.descriptors import opened_folder
from bootd.etc.disk.labels import Labelling, label_plan
from bootd.etc.disk.snapshot import Snapshot, scan_folder
from bootd.etc.disk.write import Source, empty_folder, remove_entries, write_tree
from bootd.etc.report import make_report
from bootd.etc.rules.compare import same_type
from bootd.etc.rules.decide import decide
from bootd.etc.rules.plan import Plan
from bootd.etc.rules.policy import NO_POLICIES, EtcPolicies
from bootd.etc.rules.settle import Elsewhere, settle_accounts
from bootd.etc.rules.settle_derived import Due, due_rules, settle_derived
from bootd.etc.rules.settle_text import settle_text
from bootd.model.errors import InvalidTreeError
from bootd.model.etc.report import EtcNote, EtcReport, NoteKind, etc_path
from bootd.model.tree import Directory, lookup, walk

MAX_ATTEMPTS: Final = 3
"""How often a merge starts over because ``/etc`` was written to meanwhile."""
VAR_DEPTH: Final = 256
"""Most folders in each other in an image's ``/var``: each level costs a descriptor and stack."""

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a merge would do now.

    Attributes:
        report: of it.
        mine: the machine's tree as it was read.
        merged: the tree that would stand.
    """

    report: EtcReport
    mine: Directory
    merged: Directory


def preview_merge(
    base: Directory,
    mine: Path,
    theirs: Directory,
    contents: Contents,
    policies: EtcPolicies = NO_POLICIES,
    *,
    elsewhere: Elsewhere | None = None,
) -> Preview:
    """Say what `merge_trees` would do now, writing nothing.

    Args:
        base: ``/usr/etc`` of the running deployment's image.
        mine: the running deployment's ``/etc``.
        theirs: ``/usr/etc`` of the new image.
        contents: how contents are measured, and those of account databases and texts opened.
        policies: what becomes of files that both sides changed.
        elsewhere: accounts that the images have below ``/usr/lib``.

    Raises:
        EtcTooLargeError: see `scan_folder`.
        WriteFailedError: the kernel refused to read.
    """
    with opened_folder(mine) as source, account_lock(source) as remarks:
        snapshot = scan_folder(mine, contents, (base, theirs))
        trees = base, snapshot.root, theirs
        planned = _plan(trees, source, contents, policies, elsewhere)
    notes = planned.notes + _fixed(snapshot, planned.merged)[1] + remarks
    report = make_report(planned.plan, mine, contents, notes, policies)
    return Preview(report, snapshot.root, planned.merged)


@dataclass(frozen=True, slots=True)
class MergedTrees:
    """What a merge made of what.

    Attributes:
        report: what it did.
        mine: the machine's tree as it was read.
        merged: the tree that was written; what it has of mine is read from there.
        due: what is to be made anew out of it.
        immutable: by path, the flags of chattr(1) that keep others from writing there, which are
            not set yet.
    """

    report: EtcReport
    mine: Directory
    merged: Directory
    due: list[Due]
    immutable: dict[bytes, int]


def merge_trees(
    base: Directory,
    mine: Path,
    theirs: Directory,
    contents: Contents,
    target: Path,
    *,
    policies: EtcPolicies = NO_POLICIES,
    elsewhere: Elsewhere | None = None,
    labelling: Labelling | None = None,
) -> MergedTrees:
    """Build the merged ``/etc`` in `target`, a new or empty folder; it is not yet durable.

    When `mine` was written to while it was read, the merge starts over, `MAX_ATTEMPTS` times at
    most; what is still in motion then is carried as it was read last, and noted.

    Of the arguments see `preview_merge`; `labelling` gives SELinux labels to what arrives.

    Raises:
        EtcTooLargeError: see `scan_folder`.
        NoSpaceError: the disk is full.
        WriteFailedError: the kernel refused a read or a write.
        DamagedObjectError: a content of the new image is missing or of another size.
    """
    with (
        empty_folder(target) as descriptor,
        opened_folder(mine) as source,
        account_lock(source) as remarks,
    ):
        attempt = 1
        while True:
            snapshot = scan_folder(mine, contents, (base, theirs))
            trees = base, snapshot.root, theirs
            planned = _plan(trees, source, contents, policies, elsewhere)
            root = planned.plan.root
            if labelling is not None:
                label_plan(planned.plan, snapshot.root, source, contents, labelling)
            notes = planned.notes + write_tree(root, descriptor, target, Source(source, contents))
            changing = snapshot.changed(mine)
            if not changing or attempt == MAX_ATTEMPTS:
                break
            _LOG.debug("%s changed while it was merged: %d paths", mine, len(changing))
            remove_entries(descriptor, target)
            attempt += 1
    notes += [EtcNote(path=etc_path(path), kind=NoteKind.CHANGING) for path in changing]
    immutable, more = _fixed(snapshot, planned.merged)
    notes += more + remarks
    report = make_report(planned.plan, mine, contents, notes, policies)
    return MergedTrees(report, snapshot.root, planned.merged, planned.due, immutable)


@dataclass(frozen=True, slots=True)
class _Planned:
    """A plan with all that was settled in it, and what there is to tell and to do after it."""

    plan: Plan
    merged: Directory
    notes: list[EtcNote]
    due: list[Due]


def _plan(
    sides: tuple[Directory, Directory, Directory],
    source: int,
    contents: Contents,
    policies: EtcPolicies,
    elsewhere: Elsewhere | None = None,
) -> _Planned:
    """Decide by whole files, then by records, by what can be made anew, and by policy."""
    _, mine, theirs = sides
    plan = decide(*sides)
    notes = settle_accounts(plan, sides, source, contents, elsewhere or Elsewhere())
    settled = settle_derived(plan, mine, theirs, policies.derived)
    notes += settle_text(plan, source, contents, policies)
    merged = plan.tree()
    due = due_rules(policies.derived, mine, theirs, merged, settled)
    notes += [one.note() for one in due]
    if policies.problem:
        notes.append(EtcNote(path="/etc", kind=NoteKind.RULES, detail=policies.problem))
    return _Planned(plan, merged, notes, due)


def _fixed(snapshot: Snapshot, merged: Directory) -> tuple[dict[bytes, int], list[EtcNote]]:
    """Return what is to be immutable again, and what there is to tell about what was so."""
    flags, notes = {}, []
    for path, fixed in sorted(snapshot.immutable.items()):
        kind = NoteKind.METADATA_DROPPED
        if same_type(lookup(snapshot.root, path), lookup(merged, path)):
            flags[path] = fixed
            kind = NoteKind.IMMUTABLE
        notes.append(EtcNote(path=etc_path(path), kind=kind))
    return flags, notes


def first_etc(theirs: Directory, contents: Contents, target: Path) -> EtcReport:
    """Build the ``/etc`` of a machine that had none yet: the image's defaults.

    Raises:
        NoSpaceError, WriteFailedError, DamagedObjectError: see `merge_trees`.
    """
    nothing = Directory(theirs.metadata)
    plan = decide(nothing, nothing, theirs)
    with empty_folder(target) as descriptor:
        notes = write_tree(plan.root, descriptor, target, Source(None, contents))
    return make_report(plan, target, contents, notes)


def first_var(tree: Directory, contents: Contents, target: Path) -> list[EtcNote]:
    """Build the ``/var`` of a machine that has none yet, in a new folder; it is not yet durable.

    Returns:
        What could not be carried faithfully, with paths below ``/var``.

    Raises:
        NoSpaceError, WriteFailedError, DamagedObjectError: see `merge_trees`.
        InvalidTreeError: it has folders too deep in each other to be written.
    """
    depth = max((path.count(b"/") for path, _ in walk(tree)), default=0)
    if depth > VAR_DEPTH:
        raise InvalidTreeError(
            f"/var of the image has something below {depth} folders; {VAR_DEPTH} are allowed"
        )
    nothing = Directory(tree.metadata)
    plan = decide(nothing, nothing, tree)
    with empty_folder(target) as descriptor:
        return write_tree(plan.root, descriptor, target, Source(None, contents), "/var")
