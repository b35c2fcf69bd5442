"""Health: run the checks, say what they mean for the running deployment, and remember it.

A check that failed under the deployment before, the one that the loader would fall back to, does
not count against the new one unless ``ignore_old_failures`` is off. So results are kept for each
deployment, beside the deployments and not in ``/etc``, which may go back; collect removes what is
left of deployments that are gone. How the derived files of ``/etc`` were made is one of them.

Results are written without the store's lock, which a download may hold for hours: each file is
replaced in one step, and one that cannot be written is a problem to report and not a failed check.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from bootd.boot.loader.next_boot import loader_counted
from bootd.model.deployment import DeploymentId
from bootd.model.errors import BootdError, UnhealthyError
from bootd.model.health import HealthDocument, Verdict, judge, mark_old
from bootd.operations.etc_derive import derived_checks
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey
from bootd.operations.trial.checks import find_checks, run_check
from bootd.records import read_cache, write_record
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

FILE_NAME: Final = "health.json"


def run_health(host: Host, root: Path, survey: Survey) -> HealthDocument:
    """Run all checks and remember the result.

    Args:
        host: the machine; its ``$BOOT`` need not be mounted.
        root: the running system's root, where the checks are looked up.
        survey: the machine, looked at while its ``$BOOT`` was mounted.
    """
    checks = find_checks(root)
    before = read_health(host.sysroot, survey.predecessor)
    failed_before = set() if before is None else {check.name for check in before.failed}
    found_now = [run_check(check, host.clock) for check in checks]
    found_now += derived_checks(host.sysroot, survey.booted)
    results = mark_old(found_now, failed_before)
    document = HealthDocument(
        deployment=survey.booted,
        on_trial=survey.on_trial,
        when=host.clock.now(),
        verdict=judge(results, ignore_old=host.configuration.ignore_old_failures),
        checks=results,
        problems=[check.problem for check in checks if check.problem],
    )
    try:
        _remember(host.sysroot, document)
    except BootdError as error:
        _log.warning("the result is not remembered: %s", error.message)
    return document


def soak(host: Host, root: Path, survey: Survey) -> None:
    """Wait for as long as a deployment on trial has to stay well, and check it again then.

    Args:
        host: the machine; its ``$BOOT`` need not be mounted.
        root: as for `run_health`.
        survey: likewise; of a trial that it does not know, the boot loader tells.

    Raises:
        UnhealthyError: it is not well any more.
    """
    seconds = host.configuration.soak_seconds
    if seconds == 0 or not (survey.on_trial or loader_counted(host.sysroot)):
        return
    host.clock.sleep(seconds)
    document = run_health(host, root, survey)
    if document.verdict is Verdict.UNHEALTHY:
        names = ", ".join(check.name for check in document.failed if not check.old)
        raise UnhealthyError(f"{survey.booted} was well for less than {seconds} s: {names} failed")


def last_health(host: Host) -> HealthDocument:
    """Return what the checks found when they ran last in this boot.

    Raises:
        UnhealthyError: they did not run since the machine started.
    """
    document = this_boots_health(host.sysroot)
    if document is None:
        raise UnhealthyError(
            "the health checks have not run since the machine started",
            hint="'bootctl-py health run' runs them now.",
        )
    return document


def this_boots_health(sysroot: Sysroot) -> HealthDocument | None:
    """Return what the checks found when they ran last in this boot, or None."""
    return read_cache(sysroot.run / FILE_NAME, HealthDocument)


def read_health(sysroot: Sysroot, deployment: DeploymentId | None) -> HealthDocument | None:
    """Return the last result of a deployment, or None; what cannot be read is as good as none."""
    if deployment is None:
        return None
    return read_cache(_file_of(sysroot, deployment), HealthDocument)


def forget_health(sysroot: Sysroot, kept: set[DeploymentId]) -> None:
    """Remove the results of all deployments but these."""
    folder = sysroot.health
    wanted = {_file_of(sysroot, deployment).name for deployment in kept}
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in wanted:
            sysroot.disk.discard_file(path)


def _remember(sysroot: Sysroot, document: HealthDocument) -> None:
    sysroot.disk.make_directory(sysroot.run, 0o755)
    write_record(sysroot.disk, sysroot.run / FILE_NAME, document, 0o644)
    if document.deployment is not None:
        sysroot.check_format()
        sysroot.disk.make_directory(sysroot.health)
        write_record(sysroot.disk, _file_of(sysroot, document.deployment), document)


def _file_of(sysroot: Sysroot, deployment: DeploymentId) -> Path:
    return sysroot.health / f"{deployment}.json"
