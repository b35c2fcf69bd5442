"""Looking at ``/etc``: what this machine changed, what an upgrade would do, what is in conflict."""

from __future__ import annotations

from bootd.etc.diff import diff as compare
from bootd.model.documents import EtcConflictsDocument
from bootd.model.errors import NoSuchDeploymentError, NothingStagedError
from bootd.model.etc_report import EtcDiff, EtcReport
from bootd.operations.etc_merge import EROFS_NAME, defaults_in, read_report, trial_merge
from bootd.operations.host import Host
from bootd.operations.progress import Phase, Progress
from bootd.operations.survey import survey
from bootd.store.contents import StoreContents


def preview(host: Host, progress: Progress) -> EtcReport:
    """Return what finalizing now would do to ``/etc``.

    Raises:
        NothingStagedError: there is nothing to merge with.
    """
    with host.sysroot.lock(exclusive=False):
        progress.report(Phase.VERIFYING)
        found = survey(host.sysroot)
        if found.staged is None:
            raise NothingStagedError("nothing is staged, so there is nothing to preview")
        erofs = host.sysroot.deployment(found.staged) / EROFS_NAME
        return trial_merge(host, found, erofs)


def conflicts(host: Host) -> EtcConflictsDocument:
    """Return the reports of the kept deployments' merges."""
    found = survey(host.sysroot)
    reports = {
        record.id: report
        for record in found.kept()
        if (report := read_report(host.sysroot, record.id)) is not None
    }
    return EtcConflictsDocument(reports=reports)


def diff(host: Host) -> EtcDiff:
    """Return what this machine's ``/etc`` has that its image's defaults do not, and the reverse.

    Raises:
        NoSuchDeploymentError: no deployment runs or is next.
    """
    with host.sysroot.lock(exclusive=False):
        current = survey(host.sysroot).current
        if current is None:
            raise NoSuchDeploymentError("this machine has no deployment yet")
        folder = host.sysroot.deployment(current)
        with defaults_in(folder / EROFS_NAME) as base:
            return compare(base, folder / "etc", StoreContents(host.sysroot))
