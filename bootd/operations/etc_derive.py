"""Making the files of ``/etc`` anew that are made from others, in the deployment they are for.

Finalize writes down what a merge left to do. ``bootd-derive.service`` does it when the deployment
starts for the first time, before ordinary services do: each rule's command, with a limit of time
and of output. What passed is on the disk before it is forgotten, so a cut anywhere makes it be done
again. What failed is tried again at the next starts, three in all, and counts as a health check.

The store's lock is not taken: nobody else writes these files, and a download may hold it for hours.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from bootd.clock import Clock
from bootd.model.deployment import DeploymentId
from bootd.model.errors import BootdError, NoSuchDeploymentError, ProcessFailedError
from bootd.model.etc_derived import DueRule, DueRules
from bootd.model.health import CheckResult, EtcDerivedDocument, Outcome, Severity
from bootd.operations.host import Host
from bootd.operations.record import read_record
from bootd.process import supervise
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
_MAX_RECORD: Final = 64 << 20


def write_due(sysroot: Sysroot, folder: Path, due: list[DueRule]) -> None:
    """Put what is to be made anew into a deployment's folder, durably; nothing where there is none.

    Raises:
        NoSpaceError, WriteFailedError: it is not written.
    """
    if not due:
        sysroot.disk.discard_file(folder / DUE_NAME)
        return
    text = DueRules(rules=due).model_dump_json()
    sysroot.disk.replace_file(folder / DUE_NAME, text.encode() + b"\n")


def add_due(sysroot: Sysroot, deployment: DeploymentId, due: list[DueRule]) -> None:
    """Leave more to be made anew to a deployment that may have something left to do, durably.

    Raises:
        DamagedRecordError: what it has left to do cannot be read.
        NoSpaceError, WriteFailedError: it is not written.
    """
    names = {one.name for one in due}
    before = [one for one in _read_due(sysroot, deployment).rules if one.name not in names]
    if due:
        write_due(sysroot, sysroot.deployment(deployment), [*before, *due])


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
    if not due.rules or (starting and due.runs >= MOST_RUNS):
        return _read_made(sysroot, booted) or _document(host, booted, [])
    # First, so that a run that takes the machine down counts, too.
    begun = due.model_copy(update={"runs": due.runs + 1})
    sysroot.disk.replace_file(folder / DUE_NAME, begun.model_dump_json().encode() + b"\n")
    results = _run_all(due.rules, host.clock)
    failed = {one.name for one in results if not one.passed}
    sysroot.disk.sync_filesystem(folder)
    earlier = _read_made(sysroot, booted)
    again = {one.name for one in results}
    kept = [one for one in earlier.results if one.name not in again] if earlier else []
    document = _document(host, booted, [*kept, *results])
    text = json.dumps(document.model_dump(mode="json"), indent=1)
    sysroot.disk.replace_file(folder / MADE_NAME, text.encode() + b"\n")
    left = [one for one in due.rules if _check_name(one) in failed]
    if left:
        begun = begun.model_copy(update={"rules": left})
        sysroot.disk.replace_file(folder / DUE_NAME, begun.model_dump_json().encode() + b"\n")
    else:
        sysroot.disk.remove_file(folder / DUE_NAME)
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
    return read_record(path, DueRules, _MAX_RECORD) or DueRules()


def _read_made(sysroot: Sysroot, deployment: DeploymentId) -> EtcDerivedDocument | None:
    path = sysroot.deployment(deployment) / MADE_NAME
    return read_record(path, EtcDerivedDocument, _MAX_RECORD)
