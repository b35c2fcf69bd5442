"""The staged deployment on disk: the intent first, this boot's marker second."""

from __future__ import annotations

from bootd.model.deployment import DeploymentId, StagedMarker
from bootd.operations.host import Host
from bootd.operations.survey import survey
from bootd.sysroot import Sysroot


def mark_staged(sysroot: Sysroot, deployment: DeploymentId, reference: str | None) -> None:
    """Make a published deployment the one that the next shutdown makes bootable.

    Args:
        sysroot: the machine, locked by the caller.
        deployment: its folder is durable already.
        reference: the image to follow from now on; None leaves it as it is.
    """
    changes: dict[str, object] = {"staged": deployment, "finalize_failure": None, "awaited": None}
    if reference is not None:
        changes["image"] = reference
    sysroot.change_intent(lambda _: changes)
    sysroot.write_staged(StagedMarker(deployment=deployment))


def forget_staged(sysroot: Sysroot) -> DeploymentId | None:
    """Forget what is staged, and what went wrong with it, under the caller's lock.

    Its folder is left to the caller or the next collect.
    """
    intent = sysroot.read_intent()
    if intent.staged is not None:
        sysroot.change_intent(lambda _: {"staged": None, "finalize_failure": None})
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
        staged = survey(host.sysroot).staged
        forget_staged(host.sysroot)
        if staged is not None:
            host.sysroot.disk.remove_tree(host.sysroot.deployment(staged))
        return staged
