"""Pin: a deployment that cleanup leaves alone until it is unpinned."""

from __future__ import annotations

from bootd.model.deployment import DeploymentId
from bootd.model.errors import InvalidArgumentError
from bootd.operations.host import Host
from bootd.operations.machine.survey import take_survey


def pin(host: Host, deployment: DeploymentId, *, pinned: bool) -> None:
    """Pin or unpin a deployment.

    Raises:
        NoSuchDeploymentError: there is none of that ID.
        InvalidArgumentError: it is staged, so the next upgrade may still replace it.
        BusyError: another process changes the store.
    """
    sysroot = host.sysroot
    with sysroot.records_lock():
        record = sysroot.read_deployment(deployment)
        if pinned and take_survey(sysroot).staged == deployment:
            raise InvalidArgumentError(
                f"{deployment} is staged, and what never booted cannot be pinned",
                hint="Restart into it first.",
            )
        if record.pinned != pinned:
            changed = record.model_copy(update={"pinned": pinned})
            sysroot.write_deployment(sysroot.deployment(deployment), changed)
