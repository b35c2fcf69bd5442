"""What holds the room on ``$BOOT``, as a document."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bootd.model.deployment import DeploymentId
from bootd.model.documents import Document


class BootOwner(StrEnum):
    """Whose a folder of kernels is."""

    OWN = "own"
    """This installation's."""
    NEIGHBOUR = "neighbour"
    """Another installation's of bootd on the same boot partition; it is never touched."""
    OTHER = "other"
    """Somebody else's; it is never touched."""
    NOBODY = "nobody"
    """No boot entry names it and no deployment needs it; a cleanup removes it."""


class BootFolder(BaseModel):
    """One folder of ``$BOOT/bootd``: usually a kernel with its initramfs."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    folder: str
    bytes: int
    """What it takes, in whole clusters."""
    owner: BootOwner
    installation: str | None
    """The first digits of its installation's ID, or all of them, as far as they are known."""
    deployments: list[DeploymentId]
    """This installation's that boot from it."""
    entries: list[str]
    """File names of all boot entries that name it, anybody's."""
    removable: bool
    """A cleanup would remove it."""


class BootShare(BaseModel):
    """Something else on ``$BOOT``, with all that is in it."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    path: str
    """From the root of ``$BOOT``."""
    bytes: int


class BootUsageDocument(Document):
    """``cleanup --boot``: what is on the boot partition, and what a cleanup would free there."""

    kind: Literal["BootUsage"] = "BootUsage"
    size: int
    free: int
    kernels: list[BootFolder]
    """The largest first."""
    others: list[BootShare]
    """The largest first."""
    freed_bytes: int
    """What a cleanup would free on the boot partition now."""
