"""Looking at ``/etc``: what this machine changed, and what is undecided."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

from bootd.etc.diff import diff as compare
from bootd.etc.rules.lines import marked_lines
from bootd.etc.rules.selection import Selection
from bootd.model.deployment import DeploymentId
from bootd.model.documents import EtcConflictsDocument
from bootd.model.errors import (
    InvalidArgumentError,
)
from bootd.model.etc.change import EtcVersionsDocument, OpenConflict, Undecided
from bootd.model.etc.report import ConflictKind, EtcConflict, EtcDiff, EtcReport, below_etc
from bootd.model.tree import lookup
from bootd.operations.etc.apply import current_deployment, current_of
from bootd.operations.etc.merge import (
    Sides,
    defaults_in,
    sides,
)
from bootd.operations.etc.undecided import (
    image_text,
    own_text,
    read_undecided,
    still_open,
    undecided_after,
    with_diffs,
)
from bootd.operations.etc_reports import read_report
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey, take_survey
from bootd.store.contents import StoreContents
from bootd.store.images.image import EROFS_NAME


def conflicts(host: Host, paths: Sequence[str] = ()) -> EtcConflictsDocument:
    """Return what is undecided, and the reports of the kept deployments' merges.

    Args:
        host: the machine.
        paths: only what is undecided there, and no reports; paths, folders and patterns.

    Raises:
        InvalidArgumentError: a path is not below ``/etc``.
        NoSuchDeploymentError: whose ``/etc`` is the machine's is not known, since the boot entries
            cannot be seen; of a machine without deployments nothing is undecided.
        DamagedRecordError, DamagedImageError, DamagedObjectError: the store is damaged.
        BusyError: another process changes the store.
    """
    chosen = [Selection(path) for path in paths]
    with host.sysroot.records_lock(exclusive=False):
        survey = take_survey(host.sysroot)
        if set(survey.records) - {survey.staged}:
            current_of(host, survey)
        reports = {
            record.id: report
            for record in survey.kept()
            if not chosen and (report := read_report(host.sysroot, record.id)) is not None
        }
        asked = [*_open_here(host, survey, chosen), *_open_there(host, survey, chosen)]
        return EtcConflictsDocument(reports=reports, open=asked)


def versions(host: Host, path: str) -> EtcVersionsDocument:
    """Return both sides of an undecided conflict, to be edited.

    Raises:
        InvalidArgumentError: nothing is undecided there, or it is no text, or a large one.
        NoSuchDeploymentError, DamagedRecordError, DamagedImageError, DamagedObjectError: see
            `conflicts`.
        ProcessFailedError: diff3 is missing or failed.
    """
    with host.sysroot.records_lock(exclusive=False):
        current = current_deployment(host)
        folder = host.sysroot.deployment(current)
        undecided = read_undecided(host.sysroot, current).conflicts
        one = next((one for one in undecided if one.conflict.path == path), None)
        if one is None:
            raise InvalidArgumentError(
                f"nothing is undecided at {path[:200]}",
                hint="'bootctl-py etc conflicts' lists what is; what is staged has to run first.",
            )
        contents = StoreContents(host.sysroot)
        with defaults_in(folder / EROFS_NAME) as defaults:
            mine = own_text(folder / "etc", below_etc(one.conflict.path))
            theirs = image_text(lookup(defaults, below_etc(one.conflict.path)), contents)
        if one.base is None or mine is None or theirs is None:
            raise InvalidArgumentError(
                f"{path} is no text on both sides, or a large one, so it cannot be edited",
                hint=f"Choose a side: 'bootctl-py etc resolve {path} mine' or '... theirs'.",
            )
        labels = (f"{path} here", "what both came from", f"{path} of the image")
        marked = marked_lines(base64.b64decode(one.base), mine, theirs, labels)
        mine_64, theirs_64, marked_64 = (
            base64.b64encode(text).decode() for text in (mine, theirs, marked)
        )
        return EtcVersionsDocument(path=path, mine=mine_64, theirs=theirs_64, marked=marked_64)


def diff(host: Host, paths: Sequence[str] = ()) -> EtcDiff:
    """Return what this machine's ``/etc`` has that its image's defaults do not, and the reverse.

    Args:
        host: the machine.
        paths: only what is there: paths, folders and patterns.

    Raises:
        InvalidArgumentError: a path is not below ``/etc``.
        NoSuchDeploymentError: no deployment runs or is next.
    """
    chosen = [Selection(path) for path in paths]
    with host.sysroot.records_lock(exclusive=False):
        folder = host.sysroot.deployment(current_deployment(host))
        with defaults_in(folder / EROFS_NAME) as base:
            return compare(base, folder / "etc", StoreContents(host.sysroot), chosen)


def _chosen(undecided: Iterable[Undecided], chosen: Sequence[Selection]) -> list[Undecided]:
    return [
        one
        for one in undecided
        if not chosen or any(_is_of(named, one.conflict) for named in chosen)
    ]


def _is_of(named: Selection, conflict: EtcConflict) -> bool:
    is_whole = conflict.kind not in (ConflictKind.CONTENT, ConflictKind.METADATA)
    return named.takes(conflict.path) or (is_whole and named.is_below(conflict.path))


def _open_here(host: Host, survey: Survey, chosen: Sequence[Selection]) -> list[OpenConflict]:
    if survey.current is None:
        return []
    undecided = _chosen(read_undecided(host.sysroot, survey.current).conflicts, chosen)
    if not undecided:
        return []
    folder = host.sysroot.deployment(survey.current)
    contents = StoreContents(host.sysroot)
    with defaults_in(folder / EROFS_NAME) as defaults:
        undecided = still_open(undecided, folder / "etc", defaults, contents)
        return list(with_diffs(undecided, survey.current, folder / "etc", defaults, contents))


def _open_there(host: Host, survey: Survey, chosen: Sequence[Selection]) -> list[OpenConflict]:
    if survey.staged is None:
        return []
    erofs = host.sysroot.deployment(survey.staged) / EROFS_NAME
    with sides(host, survey, erofs) as three:
        if three is None or survey.current is None:
            return []
        before = read_undecided(host.sysroot, survey.current).conflicts
        return _would_open(host, survey.staged, three, before, chosen)


def _would_open(
    host: Host,
    staged: DeploymentId,
    three: Sides,
    before: Sequence[Undecided],
    chosen: Sequence[Selection],
) -> list[OpenConflict]:
    report = read_report(host.sysroot, staged) or EtcReport()
    # One that is undecided since an older version is about what both came from then.
    undecided = undecided_after(report, three.base, three.contents, before)[: len(report.conflicts)]
    undecided = _chosen(undecided, chosen)
    return list(with_diffs(undecided, staged, three.mine, three.theirs, three.contents))
