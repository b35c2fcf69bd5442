"""Where machine and deployments stand.

The life of an upgrade is one table; the diagram in docs/architecture.md is made from it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from bootd.model.errors import InvalidTransitionError


class UpgradeState(StrEnum):
    """Where the machine is between two images."""

    IDLE = "idle"
    CHECKING = "checking"
    PULLING = "pulling"
    COMPOSING = "composing"
    STAGED = "staged"
    FINALIZING = "finalizing"
    QUEUED = "queued"
    TRIAL = "trial"
    GOOD = "good"
    FAILED = "failed"
    DENIED = "denied"


class DeploymentState(StrEnum):
    """Where a deployment stands; never stored, always read off the disk."""

    STAGED = "staged"
    QUEUED = "queued"
    TRIAL = "trial"
    GOOD = "good"
    FAILED = "failed"


S = UpgradeState

TRANSITIONS: Final[dict[UpgradeState, frozenset[UpgradeState]]] = {
    S.IDLE: frozenset({S.CHECKING, S.QUEUED}),
    S.CHECKING: frozenset({S.IDLE, S.PULLING, S.COMPOSING, S.STAGED, S.QUEUED, S.TRIAL}),
    S.PULLING: frozenset({S.IDLE, S.COMPOSING, S.STAGED, S.QUEUED, S.TRIAL}),
    S.COMPOSING: frozenset({S.IDLE, S.STAGED, S.QUEUED, S.TRIAL}),
    S.STAGED: frozenset({S.IDLE, S.CHECKING, S.FINALIZING, S.QUEUED, S.TRIAL}),
    S.FINALIZING: frozenset({S.STAGED, S.QUEUED}),
    S.QUEUED: frozenset({S.IDLE, S.CHECKING, S.TRIAL}),
    S.TRIAL: frozenset({S.GOOD, S.FAILED, S.CHECKING, S.QUEUED}),
    S.GOOD: frozenset({S.IDLE}),
    S.FAILED: frozenset({S.DENIED}),
    S.DENIED: frozenset({S.IDLE}),
}
"""From each state, the states that may follow."""


def step(current: UpgradeState, following: UpgradeState) -> UpgradeState:
    """Return `following` if the table allows it after `current`; staying is always allowed.

    Raises:
        InvalidTransitionError: the table does not.
    """
    if following is not current and following not in TRANSITIONS[current]:
        raise InvalidTransitionError(f"{following} cannot follow {current}")
    return following


def diagram() -> str:
    """Return the table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", "    [*] --> idle"]
    for source in UpgradeState:
        followers = sorted(TRANSITIONS[source], key=list(UpgradeState).index)
        lines += [f"    {source} --> {following}" for following in followers]
    return "\n".join(lines) + "\n"


class SealedFrom(StrEnum):
    """From which link of the chain at boot on a deployment's seal is enforced."""

    NOWHERE = "nowhere"
    """It is not sealed, or nothing demands the seal where it runs."""
    ENTRY_UNSIGNED = "entry-unsigned"
    """The boot entry has the digest of ``root.erofs``; the initramfs compares it, and the kernel
    opens no file that is not the image's. Nothing vouches for the entry, the kernel and the
    initramfs, which are files on ``$BOOT``."""
