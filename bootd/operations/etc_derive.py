"""Making the files of ``/etc`` anew that are made from others, in the deployment they are for.

Finalize writes down what a merge left to do. ``bootd-derive.service`` does it when the deployment
starts for the first time, before ordinary services do: each rule's command, with a limit of time
and of output. Then what was immutable (chattr(1)) is so again. What passed is on the disk before it
is forgotten, so a cut anywhere makes it be done again. What failed is tried again at the next
starts, three in all, and counts as a health check.

The store's lock is not taken: nobody else writes these files, and a download may hold it for hours.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bootd.clock import Clock
from bootd.etc.disk.descriptors import closing, open_file, open_folder, open_parent, opened_folder
from bootd.file_flags import FIXED, change_flags
from bootd.model.deployment import DeploymentId
from bootd.model.errors import BootdError, NoSuchDeploymentError, ProcessFailedError
from bootd.model.etc.derived import DueRule, DueRules
from bootd.model.etc.report import below_etc
from bootd.model.health import CheckResult, EtcDerivedDocument, Outcome, Severity
from bootd.operations.host import Host
from bootd.process import supervise
from bootd.records import MAX_ETC_BYTES, read_record, write_record
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

DUE_NAME: Final = "derived-due.json"
"""In a deployment's folder; ``bootd-derive.service`` looks for it."""
MADE_NAME: Final = "derived-made.json"
MOST_RUNS: Final = 3
"""How often the starts of a deployment try a rule that fails."""
MOST_SECONDS: Final = 900
"""How long all rules may take together."""
UNIT: Final = "bootd-derive.service"
_KEPT_OUTPUT: Final = 4_096


def write_due(sysroot: Sysroot, folder: Path, due: DueRules) -> None:
    """Put what is to be done into a deployment's folder, durably; nothing where there is nothing.

    Raises:
        NoSpaceError, WriteFailedError: it is not written.
    """
    if due.rules or due.immutable:
        write_record(sysroot.disk, folder / DUE_NAME, due)
    else:
        # If it is back after a cut, all is done once more.
        sysroot.disk.discard_file(folder / DUE_NAME)


def add_due(sysroot: Sysroot, deployment: DeploymentId, due: DueRules) -> None:
    """Leave more to be done to a deployment that may have something left to do, durably.

    Raises:
        DamagedRecordError: what it has left to do cannot be read.
        NoSpaceError, WriteFailedError: it is not written.
    """
    names = {one.name for one in due.rules}
    before = [one for one in _read_due(sysroot, deployment).rules if one.name not in names]
    more = due.model_copy(update={"rules": [*before, *due.rules]})
    write_due(sysroot, sysroot.deployment(deployment), more)


def derive(host: Host, *, starting: bool = False) -> EtcDerivedDocument:
    """Make anew what the merge of the running deployment's ``/etc`` left to do.

    Args:
        host: the machine.
        starting: the deployment is being started, so what failed thrice is left alone.

    Returns:
        How each rule went; where nothing is left to do, as it went the last time.

    Raises:
        NoSuchDeploymentError: the running system is no deployment.
        DamagedRecordError: what there is to do cannot be read.
        NoSpaceError, WriteFailedError: that it is done is not written down; it is done again.
    """
    sysroot = host.sysroot
    booted = sysroot.booted()
    if booted is None:
        raise NoSuchDeploymentError("the running system is no deployment of bootd")
    folder = sysroot.deployment(booted)
    due = _read_due(sysroot, booted)
    earlier = _read_made(sysroot, booted) or _document(host, booted, [])
    if not (due.rules or due.immutable) or (starting and due.runs >= MOST_RUNS):
        return earlier
    # First, so that a run that takes the machine down counts, too.
    begun = due.model_copy(update={"runs": due.runs + 1})
    write_due(sysroot, folder, begun)
    results = _run_all(due.rules, host.clock)
    failed = {one.name for one in results if not one.passed}
    _make_immutable(folder / "etc", due.immutable)
    sysroot.disk.sync_filesystem(folder)
    again = {one.name for one in results}
    kept = [one for one in earlier.results if one.name not in again]
    document = _document(host, booted, [*kept, *results])
    write_record(sysroot.disk, folder / MADE_NAME, document)
    left = [one for one in due.rules if _check_name(one) in failed]
    write_due(sysroot, folder, begun.model_copy(update={"rules": left, "immutable": {}}))
    return document


def derived_checks(sysroot: Sysroot, deployment: DeploymentId | None) -> list[CheckResult]:
    """Return how the rules of a deployment went, as checks of its health.

    One that never ran failed. What cannot be read is no verdict on the image, and is logged.
    """
    if deployment is None:
        return []
    try:
        made = _read_made(sysroot, deployment)
        due = _read_due(sysroot, deployment)
    except BootdError as error:
        _log.warning("how derived files were made is not known: %s", error.message)
        return []
    results = [] if made is None else list(made.results)
    known = {one.name for one in results}
    missed = [one for one in due.rules if _check_name(one) not in known]
    return [*results, *(_not_run(one, f"{UNIT} did not make it") for one in missed)]


def _make_immutable(etc: Path, flags: Mapping[str, int]) -> None:
    """Set flags of chattr(1) on files and folders; what cannot have them is logged."""
    with opened_folder(etc) as root:
        for text, wanted in sorted(flags.items(), reverse=True):
            path = below_etc(text)
            name = path.rpartition(b"/")[2]
            with (
                closing(open_parent(root, path)) as parent,
                closing(None if parent is None else open_file(name, parent)) as file,
                closing(None if parent is None else open_folder(name, parent)) as folder,
            ):
                found = folder if file is None else file
                try:
                    if found is not None:
                        change_flags(found, add=wanted & FIXED)
                except OSError as error:
                    _log.warning("%s is not immutable any more: %s", text, error.strerror)


def _run_all(rules: list[DueRule], clock: Clock) -> list[CheckResult]:
    began = clock.monotonic()
    results = []
    for one in rules:
        left = MOST_SECONDS - (clock.monotonic() - began)
        if left < 1:
            results.append(_not_run(one, f"the rules before it took {MOST_SECONDS} s"))
        else:
            results.append(_run(one, min(left, one.rule.timeout_seconds), clock))
    return results


def _run(due: DueRule, seconds: float, clock: Clock) -> CheckResult:
    began = clock.monotonic()
    try:
        ended = supervise(due.rule.command, timeout=seconds, output_limit=_KEPT_OUTPUT)
    except ProcessFailedError as error:
        return _not_run(due, error.message)
    outcome = Outcome.PASSED if ended.status == 0 else Outcome.FAILED
    result = _not_run(due, ended.output.decode(errors="replace").strip()).model_copy(
        update={
            "outcome": Outcome.TIMED_OUT if ended.timed_out else outcome,
            "attempts": 1,
            "seconds": round(clock.monotonic() - began, 3),
            "exit_status": ended.status,
        }
    )
    if not result.passed:
        _log.warning("%s: %s: %s", result.name, result.outcome, result.output[-500:])
    return result


def _not_run(due: DueRule, why: str) -> CheckResult:
    return CheckResult(
        name=_check_name(due),
        path=due.rule.command[0] if due.rule.command else "",
        severity=Severity(due.rule.severity),
        outcome=Outcome.NOT_STARTED,
        attempts=0,
        seconds=0,
        exit_status=None,
        output=why,
    )


def _check_name(due: DueRule) -> str:
    return f"derived/{due.name}"


def _document(
    host: Host, deployment: DeploymentId, results: list[CheckResult]
) -> EtcDerivedDocument:
    return EtcDerivedDocument(deployment=deployment, when=host.clock.now(), results=results)


def _read_due(sysroot: Sysroot, deployment: DeploymentId) -> DueRules:
    path = sysroot.deployment(deployment) / DUE_NAME
    return read_record(path, DueRules, MAX_ETC_BYTES) or DueRules()


def _read_made(sysroot: Sysroot, deployment: DeploymentId) -> EtcDerivedDocument | None:
    path = sysroot.deployment(deployment) / MADE_NAME
    return read_record(path, EtcDerivedDocument, MAX_ETC_BYTES)
