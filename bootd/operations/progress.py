"""How an operation tells what it is doing, and learns that it is no longer wanted."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Protocol

from bootd.model.state import UpgradeState


class Phase(StrEnum):
    """What an operation is busy with."""

    FORMATTING = "formatting"
    RESOLVING = "resolving"
    PULLING = "pulling"
    COMPOSING = "composing"
    STAGING = "staging"
    INSTALLING = "installing"
    FINALIZING = "finalizing"
    COLLECTING = "collecting"
    VERIFYING = "verifying"


_SPANS: Final[dict[Phase, tuple[float, float]]] = {
    Phase.FORMATTING: (0.00, 0.00),
    Phase.RESOLVING: (0.00, 0.02),
    Phase.PULLING: (0.02, 0.85),
    Phase.COMPOSING: (0.85, 0.95),
    Phase.STAGING: (0.95, 1.00),
    Phase.INSTALLING: (0.95, 1.00),
    Phase.FINALIZING: (0.00, 1.00),
    Phase.COLLECTING: (0.00, 1.00),
    Phase.VERIFYING: (0.00, 1.00),
}
"""Which part of a whole job each phase is, as measured on a first pull of a 1.9 GB image."""


STATES: Final[Mapping[str, UpgradeState]] = {
    Phase.RESOLVING: UpgradeState.CHECKING,
    Phase.PULLING: UpgradeState.PULLING,
    Phase.COMPOSING: UpgradeState.COMPOSING,
    Phase.STAGING: UpgradeState.COMPOSING,
    Phase.FINALIZING: UpgradeState.FINALIZING,
}
"""Which state the machine is in while a job is in a phase; in the others it is in the same."""


def overall(phase: Phase, done: int, total: int) -> float:
    """Return the fraction (0 to 1) of the whole job at `done` of `total` bytes in a phase."""
    start, end = _SPANS[phase]
    fraction = min(1.0, done / total) if total > 0 else 0.0
    return start + (end - start) * fraction


class Progress(Protocol):
    """What operations report to; the same object carries the wish to cancel back."""

    def report(self, phase: Phase, done: int = 0, total: int = 0) -> None:
        """Say what is being done, and how many bytes of how many.

        Raises:
            CancelledError: the operation is no longer wanted; it leaves nothing half changed.
        """


class Silent:
    """Progress that nobody watches."""

    def report(self, phase: Phase, done: int = 0, total: int = 0) -> None:
        """Do nothing."""
