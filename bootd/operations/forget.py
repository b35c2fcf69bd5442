"""Forget: drop one deployment wholly, because somebody says so.

Order of writes: as for a cleanup, of which it is one that keeps all others.
"""

from __future__ import annotations

from bootd.boot.proof import require_boot
from bootd.model.deployment import DeploymentId
from bootd.model.documents import CollectDocument
from bootd.model.errors import DeploymentNeededError, NoSpaceError
from bootd.model.state import DeploymentState
from bootd.operations.collect import remove_all_but
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey, take_survey
from bootd.operations.progress import Phase, Progress
from bootd.operations.trial.fallback import settle_fallbacks


def forget(host: Host, progress: Progress, deployment: str) -> CollectDocument:
    """Drop a deployment: its boot entry, its kernel, and its part of the store.

    Edits of its ``/etc`` that no other deployment has are kept as a copy first.

    Args:
        host: the machine.
        progress: told what is done.
        deployment: its ID.

    Raises:
        InvalidArgumentError: that is no ID.
        NoSuchDeploymentError: there is none of that ID.
        DeploymentNeededError: the machine needs it, or somebody pinned it; nothing was changed.
        NoBootPartitionError: no partition is proven to be ``$BOOT``; what is needed is not known.
        NoSpaceError: it boots no more, but there was no room for that copy, so it is there still.
        DamagedRecordError, DamagedImageError: what the others need cannot be known.
        BusyError: another process changes the store.
    """
    identifier = DeploymentId(deployment)
    require_boot(host.sysroot)
    with host.sysroot.lock(exclusive=True):
        progress.report(Phase.COLLECTING)
        settle_fallbacks(host)
        host.sysroot.read_deployment(identifier)
        survey = take_survey(host.sysroot)
        _refuse_needed(survey, identifier)
        kept = survey.records.keys() - {identifier}
        done = remove_all_but(host, survey, kept, lambda: progress.report(Phase.COLLECTING))
        if identifier not in done.deployments:
            raise NoSpaceError(
                f"{identifier} boots no more, and stays in the store for the edits of its /etc, of "
                "which no copy could be made",
                hint="Free room and run 'bootctl-py cleanup'; the journal says what was wrong.",
            )
        return done


def _refuse_needed(survey: Survey, deployment: DeploymentId) -> None:
    if deployment == survey.booted:
        raise DeploymentNeededError(
            f"{deployment} is what runs",
            hint="Go to another one first ('bootctl-py rollback' or 'upgrade', then restart).",
        )
    if deployment == survey.staged:
        raise DeploymentNeededError(
            f"{deployment} is staged", hint="'bootctl-py unstage' drops what is staged."
        )
    if survey.records[deployment].pinned:
        raise DeploymentNeededError(
            f"{deployment} is pinned", hint=f"'bootctl-py unpin {deployment}' lets it go."
        )
    entry = survey.entry(deployment)
    if entry is None or survey.state_of(deployment) is DeploymentState.FAILED:
        return
    others = [one for one in survey.entries if one.deployment != deployment]
    if any(one.tries_left is None and one.deployment in survey.records for one in others):
        return
    if deployment == survey.next_boot:
        raise DeploymentNeededError(f"{deployment} boots next, and no other good deployment would")
    raise DeploymentNeededError(
        f"{deployment} is what the machine falls back to, and no other deployment is known to be "
        "good",
        hint="Wait until what is on trial has proved itself, then try again.",
    )
