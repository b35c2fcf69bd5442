"""What the places of an image did so far, for the journal and for the result of a job."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from bootd.model.registry.source_use import SourceUse

_log = logging.getLogger(__name__)

_SHOWN: Final = 300


@dataclass
class _Count:
    """As `SourceUse`, to be added to."""

    answers: int = 0
    layer_bytes: int = 0
    passed_over: str | None = None


class Uses:
    """The uses of one source's places; those of several readers of it come together here."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, _Count] = defaultdict(_Count)
        self._told: set[tuple[str, str]] = set()

    def served(self, location: str) -> None:
        """Note an answer that came to its end."""
        self._counts[location].answers += 1
        self._tell(logging.INFO, location, "serves")

    def received(self, location: str, count: int) -> None:
        """Note bytes of a layer."""
        self._counts[location].layer_bytes += count

    def passed_over(self, location: str, reason: str, level: int = logging.WARNING) -> None:
        """Note that another place was asked, and tell of it: what was set up is of no use."""
        self._counts[location].passed_over = shown = reason[:_SHOWN]
        self._tell(level, location, "is passed over", f": {shown}")

    def take(self) -> list[SourceUse]:
        """Return what there is since the last time."""
        taken, self._counts = self._counts, defaultdict(_Count)
        return [
            SourceUse(
                location=location,
                answers=count.answers,
                layer_bytes=count.layer_bytes,
                passed_over=count.passed_over,
            )
            for location, count in taken.items()
        ]

    def _tell(self, level: int, location: str, what: str, more: str = "") -> None:
        # What repeats itself with each layer is told once, and then to those who look closer.
        is_new = (location, what) not in self._told
        self._told.add((location, what))
        _log.log(level if is_new else logging.DEBUG, "%s %s%s", location, what, more)
