"""Where machine and deployments stand; docs/architecture.md, "The life of an upgrade"."""

from __future__ import annotations

from enum import StrEnum


class UpgradeState(StrEnum):
    """Where the machine is between two images: what a job does, or else what the disk says."""

    IDLE = "idle"
    CHECKING = "checking"
    PULLING = "pulling"
    COMPOSING = "composing"
    STAGED = "staged"
    FINALIZING = "finalizing"
    QUEUED = "queued"
    TRIAL = "trial"


class DeploymentState(StrEnum):
    """Where a deployment stands; never stored, always read off the disk."""

    STAGED = "staged"
    QUEUED = "queued"
    TRIAL = "trial"
    GOOD = "good"
    FAILED = "failed"


class SealedFrom(StrEnum):
    """From which link of the chain at boot on a deployment's seal is enforced."""

    NOWHERE = "nowhere"
    """It is not sealed, or nothing demands the seal where it runs."""
    ENTRY_UNSIGNED = "entry-unsigned"
    """The boot entry has the digest of ``root.erofs``; the initramfs compares it, and the kernel
    opens no file that is not the image's. Nothing vouches for the entry, the kernel and the
    initramfs, which are files on ``$BOOT``."""
