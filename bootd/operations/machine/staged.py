"""The staged deployment on disk: the intent first, this boot's marker second."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from bootd.model.deployment import DeploymentId, Intent, StagedMarker
from bootd.operations.hold import refusal
from bootd.operations.host import Host
from bootd.operations.machine.survey import take_survey
from bootd.sysroot import Sysroot

NOTHING_STAGED: Final[Mapping[str, object]] = {
    "staged": None,
    "finalize_failure": None,
    "staged_by_hand": False,
    "asked_for": None,
    "replaced": None,
}
"""What of the intent is about what is staged."""


def mark_staged(
    sysroot: Sysroot,
    deployment: DeploymentId,
    reference: str | None,
    *,
    unless_held_at: datetime | None = None,
    replaced: str | None = None,
) -> None:
    """Make a published deployment the one that the next shutdown makes bootable.

    Args:
        sysroot: the machine, locked by the caller.
        deployment: its folder is durable already.
        reference: the image to follow from now on; None leaves it as it is.
        unless_held_at: the time, where nobody asked for it; None: a person did.
        replaced: what of a person's it replaces, if nobody asked for it.

    Raises:
        HeldError: nobody asked for it, and updates are held by now.
    """

    def staging(intent: Intent) -> Mapping[str, object]:
        by_hand = unless_held_at is None
        if unless_held_at is not None and intent.hold_at(unless_held_at) is not None:
            raise refusal(intent, unless_held_at)
        return {
            "image": intent.image if reference is None else reference,
            "staged": deployment,
            "finalize_failure": None,
            "awaited": None,
            "staged_by_hand": by_hand,
            "asked_for": deployment if by_hand else None,
            "replaced": replaced,
        }

    sysroot.change_intent(staging)
    sysroot.write_staged(StagedMarker(deployment=deployment))


def forget_staged(sysroot: Sysroot) -> DeploymentId | None:
    """Forget what is staged, and what went wrong with it, under the caller's lock.

    Its folder is left to the caller or the next collect.
    """
    intent = sysroot.read_intent()
    if intent.staged is not None:
        sysroot.change_intent(lambda _: NOTHING_STAGED)
    sysroot.clear_staged()
    return intent.staged


def unstage(host: Host) -> DeploymentId | None:
    """Drop the staged deployment; the machine stays on what it is on.

    Returns:
        What was staged, or None.

    Raises:
        BusyError: another process changes the store.
    """
    with host.sysroot.records_lock():
        staged = take_survey(host.sysroot).staged
        forget_staged(host.sysroot)
        if staged is not None:
            host.sysroot.disk.remove_tree(host.sysroot.deployment(staged))
        return staged
