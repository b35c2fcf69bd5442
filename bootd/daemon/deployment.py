"""The object of a deployment: org.bootd1.Deployment, properties only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bootd.daemon.dbus.server import Handler
from bootd.daemon.unattended.times import microseconds
from bootd.model.documents import DeploymentStatus
from bootd.model.etc.report import EtcCounts

_NOT_COUNTED: Final = -1


class DeploymentObject:
    """A deployment as the bus sees it."""

    def __init__(self, status: DeploymentStatus, etc: EtcCounts | None) -> None:
        self._status = status
        self._etc = etc

    def show(self, status: DeploymentStatus, etc: EtcCounts | None) -> None:
        """Take up a newer status of the same deployment."""
        self._status = status
        self._etc = etc

    def methods(self) -> Mapping[str, Handler]:
        """Return none: what can be done is the Manager's."""
        return {}

    def properties(self, _reader: int | None = None) -> Mapping[str, Any]:
        """Return the property values."""
        status = self._status
        accepted = status.accepted
        return {
            "Id": status.id,
            "Image": status.image,
            "Digest": status.digest,
            "Version": status.image_version,
            "Created": microseconds(status.created),
            "State": status.state.value,
            "Pinned": status.pinned,
            "GivenUp": status.given_up,
            "Booted": status.booted,
            "NextBoot": status.next_boot,
            "TriesLeft": _NOT_COUNTED if status.tries_left is None else status.tries_left,
            "Kernel": status.kernel_version,
            "KernelArguments": list(status.kernel_arguments),
            "Sealed": status.sealed,
            "SealDigest": status.seal_digest or "",
            "SealedFrom": status.sealed_from.value,
            "AcceptedAt": 0 if accepted is None else microseconds(accepted.when),
            "TrustScope": "" if accepted is None else accepted.scope or "",
            "SignedBy": [] if accepted is None else list(accepted.signers),
            "EtcReport": {} if self._etc is None else self._etc.model_dump(),
        }
