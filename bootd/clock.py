"""The one place that asks what time it is, and the one that waits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """The machine's clocks; tests pass a subclass that stands still or jumps."""

    def now(self) -> datetime:
        """Return the wall clock in UTC, to the second (records are for people)."""
        return datetime.now(UTC).replace(microsecond=0)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def since_start(self) -> float:
        """Return seconds since the machine was started, those that it slept through included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        """Block this thread; never call it on the event loop."""
        time.sleep(seconds)


SYSTEM_CLOCK = Clock()
