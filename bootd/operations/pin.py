"""Pin: a deployment that cleanup leaves alone until it is unpinned."""

from __future__ import annotations

from bootd.model.deployment import DeploymentId
from bootd.operations.host import Host


def pin(host: Host, deployment: DeploymentId, *, pinned: bool) -> None:
    """Pin or unpin a deployment.

    Raises:
        NoSuchDeploymentError: there is none of that ID.
        BusyError: another process changes the store.
    """
    sysroot = host.sysroot
    with sysroot.lock(exclusive=True):
        record = sysroot.read_deployment(deployment)
        if record.pinned != pinned:
            changed = record.model_copy(update={"pinned": pinned})
            sysroot.write_deployment(sysroot.deployment(deployment), changed)
