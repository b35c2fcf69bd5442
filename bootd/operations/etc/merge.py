"""The three sides of ``/etc`` as an upgrade sees them, and the report it leaves.

Base and theirs are read out of the two images' EROFS files, only the part below ``/usr/etc``, or
where an image has its defaults instead; mine is the folder that is bound to ``/etc`` of the running
system.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from bootd.etc.accounts.chosen import Chosen, Move, chosen_after
from bootd.etc.accounts.records import GROUP, PASSWD
from bootd.etc.diff import steps
from bootd.etc.disk.contents import Contents
from bootd.etc.disk.descriptors import opened_folder
from bootd.etc.merge import MergedTrees, first_etc, merge_trees, preview_merge
from bootd.etc.report import with_notes
from bootd.etc.rules.derived import Derived
from bootd.etc.rules.patterns import matches
from bootd.etc.rules.policy import EtcPolicies
from bootd.etc.rules.settle import MAX_DATABASE, Elsewhere, databases_in, databases_of
from bootd.model.deployment import DeploymentId
from bootd.model.errors import BootdError, DamagedImageError
from bootd.model.etc.change import Undecided
from bootd.model.etc.derived import MAX_IMMUTABLE, DueRule, DueRules
from bootd.model.etc.report import EtcNote, EtcReport, below_etc, etc_path
from bootd.model.tree import Directory, Metadata, RegularFile
from bootd.operations.etc.ids import moves_to, read_chosen
from bootd.operations.etc.labels import policy_labels
from bootd.operations.etc.loose_ends import loose_ends
from bootd.operations.etc.moment import Edits, edits_in, late_edits, read_edits
from bootd.operations.etc.rules import policies_with
from bootd.operations.etc.undecided import (
    read_undecided,
    still_open,
    undecided_after,
)
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey
from bootd.store.contents import StoreContents
from bootd.store.erofs.reader import ErofsImage
from bootd.store.images.host_layout import DEFAULT_PLACES
from bootd.store.images.image import EROFS_NAME

_log = logging.getLogger(__name__)

_ELSEWHERE: Final = {PASSWD: b"usr/lib/passwd", GROUP: b"usr/lib/group"}
"""Where images keep accounts that are none of the machine's (nss-altfiles)."""


@dataclass(frozen=True, slots=True)
class Sides:
    """What a merge is made of; `current` is the deployment that base and mine are of."""

    current: DeploymentId
    base: Directory
    mine: Path
    theirs: Directory
    contents: Contents
    policies: EtcPolicies
    elsewhere: Elsewhere


@contextmanager
def defaults_in(erofs: Path, content: bytes | None = None) -> Iterator[Directory]:
    """Yield the defaults of an image's ``/etc``; one without has an empty folder.

    Args:
        erofs: its EROFS file.
        content: what to read in place of the file, which is then for messages only.

    Raises:
        DamagedImageError: the EROFS file is damaged, or the defaults are not a folder.
    """
    opened = (
        ErofsImage.open(erofs) if content is None else ErofsImage.from_bytes(content, str(erofs))
    )
    with opened as image:
        found = (image.lookup(place) for place in DEFAULT_PLACES)
        node = next((node for node in found if node is not None), None)
        if node is None:
            node = Directory(Metadata())
        if not isinstance(node, Directory):
            raise DamagedImageError(f"what stands for /etc in {erofs} is not a folder")
        yield node


def accounts_elsewhere(erofs: Path, contents: StoreContents) -> dict[str, bytes]:
    """Return passwd and group below ``/usr/lib`` of an image, where it has such.

    Raises:
        DamagedImageError, DamagedObjectError: the image cannot be read.
    """
    with ErofsImage.open(erofs) as image:
        nodes = {name: image.lookup(path) for name, path in _ELSEWHERE.items()}
    return {
        name: contents.read(node)
        for name, node in nodes.items()
        if isinstance(node, RegularFile) and node.size <= MAX_DATABASE
    }


@contextmanager
def sides(
    host: Host,
    survey: Survey,
    erofs: Path,
    content: bytes | None = None,
    moves: tuple[Move, ...] | None = None,
) -> Iterator[Sides | None]:
    """Yield the three sides of a merge, or None where the machine has no ``/etc`` yet.

    Args:
        host: the machine.
        survey: what is on it.
        erofs: the new image's EROFS file.
        content: see `defaults_in`.
        moves: which names get the number of the new image, where that was found out before.
    """
    sysroot, current = host.sysroot, survey.current
    mine = None if current is None else sysroot.deployment(current) / "etc"
    if current is None or mine is None or not mine.is_dir():
        yield None
        return
    contents = StoreContents(sysroot)
    booted_erofs = sysroot.deployment(current) / EROFS_NAME
    with defaults_in(booted_erofs) as base, defaults_in(erofs, content) as theirs:
        policies = policies_with(host.configuration.etc, erofs, contents)
        chosen = read_chosen(sysroot, current)
        if moves is None:
            moves = moves_to(host, chosen, base=base, mine=mine, theirs=theirs, contents=contents)
        elsewhere = Elsewhere(
            accounts_elsewhere(booted_erofs, contents),
            accounts_elsewhere(erofs, contents),
            chosen,
            moves,
        )
        yield Sides(current, base, mine, theirs, contents, policies, elsewhere)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a merge would do now.

    Attributes:
        report: of the merge.
        edits: what is edited now.
    """

    report: EtcReport
    edits: Edits


@dataclass(frozen=True, slots=True)
class MergedEtc:
    """A merge that was made.

    Attributes:
        report: of the merge; what was edited after staging is noted in it.
        undecided: the conflicts that nobody has decided yet.
        edits: how the new ``/etc`` differs from its defaults to begin with.
        due: what the new deployment is to do, when it starts.
        chosen: what this merge and those before it chose for users and groups.
    """

    report: EtcReport
    undecided: list[Undecided]
    edits: Edits
    due: DueRules
    chosen: Chosen


def trial_merge(
    host: Host,
    survey: Survey,
    erofs: Path,
    content: bytes | None = None,
    *,
    listed: bool = False,
) -> Trial:
    """Return what merging now would do; nothing is written.

    Args:
        host: the machine.
        survey: what is on it.
        erofs: the new image's EROFS file.
        content: see `defaults_in`.
        listed: let the report name every path that would be another.
    """
    with sides(host, survey, erofs, content) as three:
        if three is None:
            return Trial(EtcReport(), Edits())
        now = preview_merge(
            three.base,
            three.mine,
            three.theirs,
            three.contents,
            three.policies,
            elsewhere=three.elsewhere,
        )
        report = with_notes(now.report, _loose_ends(host, three, erofs, now.mine, now.merged))
        if listed:
            changes, more = steps(now.mine, now.merged)
            report = report.model_copy(update={"changes": changes, "more_changes": more})
        return Trial(report, edits_in(three.base, now.mine, three.mine, three.contents))


def coming_moves(host: Host, survey: Survey, staged: DeploymentId) -> tuple[Move, ...]:
    """Return which names get the number that a staged image has for them.

    Files of the image and its accounts have to follow the same answer, so it is asked for once.
    """
    with sides(host, survey, host.sysroot.deployment(staged) / EROFS_NAME) as three:
        return () if three is None else three.elsewhere.moves


def merge_into(
    host: Host,
    survey: Survey,
    staged: DeploymentId,
    target: Path,
    moves: tuple[Move, ...] | None = None,
) -> MergedEtc:
    """Build the merged ``/etc`` of a staged deployment in a new folder; not yet durable.

    Args:
        host: the machine.
        survey: what is on it.
        staged: the deployment.
        target: the folder.
        moves: see `sides`.
    """
    erofs = host.sysroot.deployment(staged) / EROFS_NAME
    with sides(host, survey, erofs, moves=moves) as three:
        if three is None:
            with defaults_in(erofs) as theirs:
                first_etc(theirs, StoreContents(host.sysroot), target)
            return MergedEtc(EtcReport(), [], Edits(), DueRules(), Chosen())
        trees = merge_trees(
            three.base,
            three.mine,
            three.theirs,
            three.contents,
            target,
            policies=three.policies,
            elsewhere=three.elsewhere,
            labelling=policy_labels,
        )
        edits = edits_in(three.base, trees.mine, three.mine, three.contents)
        late = late_edits(read_edits(host.sysroot, staged), edits)
        loose = _loose_ends(host, three, erofs, trees.mine, trees.merged)
        before = read_undecided(host.sysroot, three.current).conflicts
        before = still_open(before, three.mine, three.base, three.contents)
        made = [one.derived for one in trees.due]
        before = [one for one in before if not _needs_no_answer(one, three.policies, made)]
        return MergedEtc(
            with_notes(trees.report, [*late, *loose]),
            undecided_after(trees.report, three.base, three.contents, before),
            edits_in(three.theirs, trees.merged, three.mine, three.contents),
            as_due(trees),
            _chosen_after(three, target),
        )


def _loose_ends(
    host: Host, three: Sides, erofs: Path, mine: Directory, merged: Directory
) -> list[EtcNote]:
    images = host.sysroot.deployment(three.current) / EROFS_NAME, erofs
    contents = StoreContents(host.sysroot)
    try:
        return loose_ends(merged, (three.mine, mine), three.theirs, images, contents)
    except BootdError as error:
        # They are only told, so nothing fails for them.
        _log.warning("what the merged /etc does not get is not known: %s", error.message)
        return []


def as_due(trees: MergedTrees) -> DueRules:
    """Return what a merge left to be done when the deployment starts, as it is written down."""
    immutable = islice(sorted(trees.immutable.items()), MAX_IMMUTABLE)
    return DueRules(
        rules=[DueRule(name=one.derived.name, rule=one.derived.rule) for one in trees.due],
        immutable={etc_path(path): flags for path, flags in immutable},
    )


def _needs_no_answer(undecided: Undecided, policies: EtcPolicies, made: Sequence[Derived]) -> bool:
    """Tell whether an older conflict is at a path that has none any more."""
    path = below_etc(undecided.conflict.path)
    return policies.is_own(path) or any(matches(one.outputs, path) for one in made)


def _chosen_after(three: Sides, target: Path) -> Chosen:
    with opened_folder(three.mine) as before, opened_folder(target) as after:
        mine, merged = databases_of(before), databases_of(after)
    base, theirs = (databases_in(side, three.contents) for side in (three.base, three.theirs))
    return chosen_after(three.elsewhere.chosen, base, mine, theirs, merged)
