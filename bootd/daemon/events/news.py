"""Which `Event` the journal gets for what.

The daemon tells of its jobs, and of what it finds when it starts; ``bootctl-py`` tells of what it
does without the daemon, as the units of shutdown and boot have it do.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from bootd.daemon.events.journal import announce
from bootd.model.errors import CancelledError
from bootd.model.event import Event
from bootd.operations.jobs.kind import JobKind
from bootd.operations.jobs.table import CHECK
from bootd.operations.machine.attempts import DECIDED

if TYPE_CHECKING:
    from bootd.daemon.jobs import Job
    from bootd.model.deployment import DeploymentId
    from bootd.model.documents import StatusDocument
    from bootd.operations.recover import Recovery

_log = logging.getLogger(__name__)


def tell_of_start(status: StatusDocument, recovery: Recovery) -> None:
    """Tell what happened while no daemon ran."""
    for fallback in recovery.fallbacks:
        deployment, denial = fallback.deployment, fallback.denial
        announce(
            Event.FALLBACK_SEEN,
            f"{deployment} did not boot well ({denial.cause}), and the machine fell back from it",
            deployment,
        )
        announce(
            Event.DENIED,
            f"{denial.digest} is not staged again: {denial.cause}",
            denial.digest,
            denial.cause,
        )
    if recovery.miss is not None:
        deployment, cause = recovery.miss.deployment, recovery.miss.cause
        announce(
            Event.DID_NOT_BOOT,
            f"{deployment} was to boot and was not started: {cause}",
            deployment,
            cause,
        )
    if recovery.blessed is not None:
        tell_of_blessing(recovery.blessed)
    if status.overridden is not None:
        announce(Event.BOOT_OVERRIDDEN, status.overridden, status.overridden)
    if status.finalize_failure is not None:
        tell_of_failed_finalize(status.finalize_failure)
    for one in status.deployments:
        if one.booted:
            _tell_of_security(one.id, one.etc_security_conflicts)


def tell_of_job(job: Job) -> None:
    """Tell how a job ended."""
    if isinstance(job.error, CancelledError):
        return
    if job.is_automatic and isinstance(job.error, DECIDED):
        _log.info("job %d (%s) does nothing: %s", job.id, job.kind.name, job.error.message)
        return
    if job.error is not None and not job.is_news:
        _log.info("job %d (%s) failed again: %s", job.id, job.kind.name, job.error.message)
        return
    if job.error is not None:
        announce(
            Event.JOB_FAILED,
            f"job {job.id} ({job.kind.name}) failed: {job.error.message}",
            str(job.id),
            job.kind.name,
            job.error.code,
            job.error.hint,
        )
        return
    if job.recovered_from is not None:
        failed = job.recovered_from
        announce(
            Event.RECOVERED,
            f"looking for an update works again, after {failed.in_a_row} that failed",
            str(failed.in_a_row),
            f"{failed.since:%Y-%m-%d %H:%M} UTC",
        )
    if job.kind is not CHECK or job.is_news:
        tell_of_result(job.kind, json.loads(job.result))


def tell_of_result(kind: JobKind[Any], document: Mapping[str, Any]) -> None:
    """Tell what an operation did.

    Args:
        kind: the job's, or the kind of job that the operation would be.
        document: what it returned.
    """
    if kind.event is not None:
        _TELLERS[kind.event](document)


def tell_of_blessing(deployment: DeploymentId) -> None:
    """Tell that a deployment on trial has come up and is kept."""
    announce(Event.BLESSED, f"{deployment} has booted well", deployment)


def tell_of_failed_finalize(reason: str) -> None:
    """Tell that a shutdown did not make the staged deployment bootable."""
    announce(
        Event.FINALIZE_FAILED,
        f"the last shutdown did not make the update bootable: {reason}",
        reason,
    )


def _tell_of_check(found: Mapping[str, Any]) -> None:
    image, digest = found["image"], found["digest"]
    if found["update"] and not found["denied"]:
        announce(Event.UPDATE_AVAILABLE, f"{image} is now {digest}", image, digest)


def _tell_of_stage(staged: Mapping[str, Any]) -> None:
    if staged["changed"]:
        image, digest, deployment = staged["image"], staged["digest"], staged["deployment"]
        announce(
            Event.STAGED, f"{image} is staged as {deployment}", image, digest, deployment or ""
        )
        if staged["etc"] is not None:
            _tell_of_security(deployment or "", staged["etc"]["counts"]["security"])


def _tell_of_security(deployment: str, conflicts: int) -> None:
    if conflicts:
        announce(
            Event.ETC_SECURITY_CONFLICT,
            f"{conflicts} paths in /etc that matter for security keep this machine's version in "
            f"{deployment}, although the image changed them",
            deployment,
            str(conflicts),
        )


def _tell_of_finalize(finalized: Mapping[str, Any]) -> None:
    deployment = finalized["deployment"]
    if deployment is not None:
        announce(Event.FINALIZED, f"{deployment} boots next", deployment)


def _tell_of_rollback(rolled_back: Mapping[str, Any]) -> None:
    deployment, denied = rolled_back["deployment"], rolled_back["denied"]
    announce(Event.ROLLED_BACK, f"{deployment} boots next, by a rollback", deployment)
    if denied is not None:
        reason = "it was rolled back"
        announce(Event.DENIED, f"{denied} is not staged again: {reason}", denied, reason)


def _tell_of_kernel_arguments(change: Mapping[str, Any]) -> None:
    if change["changed"]:
        added, removed = " ".join(change["added"]), " ".join(change["removed"])
        parts = [f"with {added}"] if added else []
        parts += [f"without {removed}"] if removed else []
        announce(
            Event.KERNEL_ARGUMENTS_CHANGED,
            f"{change['deployment']} boots next, {' and '.join(parts) or 'in another order'}",
            change["deployment"],
            added,
            removed,
        )


def _tell_of_fsck(checked: Mapping[str, Any]) -> None:
    damages = checked["damages"]
    if damages:
        named = ", ".join(f"{damage['what']} {damage['path']}" for damage in damages[:10])
        announce(Event.DAMAGE_FOUND, f"{len(damages)} damages, such as {named}", str(len(damages)))


_TELLERS: Final = {
    Event.UPDATE_AVAILABLE: _tell_of_check,
    Event.STAGED: _tell_of_stage,
    Event.FINALIZED: _tell_of_finalize,
    Event.ROLLED_BACK: _tell_of_rollback,
    Event.KERNEL_ARGUMENTS_CHANGED: _tell_of_kernel_arguments,
    Event.DAMAGE_FOUND: _tell_of_fsck,
}
