"""Why an update is, or is not, made: the status read as reasons."""

from __future__ import annotations

from bootd.model.acceptance import Acceptance
from bootd.model.config import Automatic
from bootd.model.deployment import Denial
from bootd.model.documents import DeploymentStatus, ExplanationDocument, Reason, StatusDocument
from bootd.model.state import DeploymentState
from bootd.operations.host import Host
from bootd.operations.status import status
from bootd.operations.trial.deny import denied


def explain(
    status: StatusDocument, denial: Denial | None, automatic: Automatic
) -> ExplanationDocument:
    """Return the reasons that hold now, the strongest first.

    Args:
        status: the machine's.
        denial: of the digest that the last check found, if it is on the deny list.
        automatic: how far the timer goes.
    """
    available = status.available
    return ExplanationDocument(
        image=status.image,
        available=available,
        state=status.state,
        automatic=automatic,
        held_by=status.held_by,
        held_until=status.held_until,
        held_back=status.held_back,
        staged_by_hand=status.staged_by_hand,
        replaced=status.replaced,
        denial=denial,
        last_fallback=status.last_fallback,
        finalize_failure=status.finalize_failure,
        did_not_boot=status.did_not_boot,
        overridden=status.overridden,
        no_room=status.no_room,
        failing=status.failing,
        trust=status.trust,
        accepted=_accepted(status),
        next_run=status.next_run,
        reasons=[*_obstacles(status, denial, automatic), *_standing(status)],
    )


def explain_status(host: Host, status: StatusDocument) -> ExplanationDocument:
    """Return the reasons that hold now, with what the deny list says of the newest image.

    Args:
        host: the machine.
        status: the machine's.

    Raises:
        DamagedRecordError, UnknownFormatError: the deny list cannot be used.
    """
    digest = None if status.available is None else status.available.digest
    denial = next((one for one in denied(host).denied if one.digest == digest), None)
    return explain(status, denial, host.configuration.automatic)


def explain_disk(host: Host) -> ExplanationDocument:
    """Return the reasons that the disk knows of; the daemon knows more.

    Raises:
        BootdError: the disk does not hold what is needed.
    """
    return explain_status(host, status(host))


def _obstacles(status: StatusDocument, denial: Denial | None, automatic: Automatic) -> list[Reason]:
    found = {
        Reason.NO_IMAGE: status.image is None,
        Reason.UNREADABLE: bool(
            set(status.problems)
            - {
                status.did_not_boot,
                status.overridden,
                status.no_room,
                status.unfit,
                status.misconfigured,
            }
        ),
        Reason.DENIED: denial is not None and status.unfit is None,
        Reason.UNFIT: status.unfit is not None,
        Reason.NO_ROOM: status.no_room is not None,
        Reason.HELD: status.held_by is not None,
        Reason.FINALIZE_FAILED: status.finalize_failure is not None,
        Reason.DID_NOT_BOOT: status.did_not_boot is not None,
        Reason.OVERRIDDEN: status.overridden is not None,
        Reason.REFUSED: status.trust is not None and status.trust.refused is not None,
        Reason.AUTOMATIC_OFF: automatic is Automatic.OFF,
        Reason.AUTOMATIC_ONLY_CHECKS: automatic is Automatic.CHECK,
        Reason.MISCONFIGURED: status.misconfigured is not None,
        Reason.FAILING: status.failing is not None,
        Reason.NEVER_CHECKED: status.image is not None and status.available is None,
    }
    return [reason for reason, holds in found.items() if holds]


def _accepted(status: StatusDocument) -> Acceptance | None:
    """Return what the policy said of what runs."""
    return next((one.accepted for one in status.deployments if one.booted), None)


def _standing(status: StatusDocument) -> list[Reason]:
    by_id = {deployment.id: deployment for deployment in status.deployments}
    booted = by_id.get(status.booted) if status.booted else None
    if status.staged is not None:
        return [Reason.STAGED]
    if status.queued is not None:
        return [Reason.QUEUED]
    if booted is not None and booted.state is DeploymentState.TRIAL:
        return [Reason.ON_TRIAL]
    return [Reason.UP_TO_DATE] if _is_newest(status, booted) else []


def _is_newest(status: StatusDocument, booted: DeploymentStatus | None) -> bool:
    available = status.available
    if booted is None or available is None or status.failing is not None:
        return False
    # What was seen of another reference, before a switch, says nothing of this one.
    return booted.digest == available.digest and available.image == status.image
