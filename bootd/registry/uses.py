"""What the places of an image did so far, for the journal and for the result of a job."""

from __future__ import annotations

import logging
from typing import Final

from bootd.model.source_use import SourceUse, merged

_log = logging.getLogger(__name__)

_SHOWN: Final = 300


class Uses:
    """The uses of one source's places; those of several readers of it come together here."""

    def __init__(self) -> None:
        self._uses: list[SourceUse] = []
        self._told: set[tuple[str, bool]] = set()

    def served(self, location: str) -> None:
        """Note an answer that came to its end."""
        self._add(SourceUse(location=location, answers=1))
        self._log(logging.INFO, location, True, "%s serves", location)

    def received(self, location: str, count: int) -> None:
        """Note bytes of a layer."""
        self._add(SourceUse(location=location, layer_bytes=count))

    def passed_over(self, location: str, reason: str, level: int = logging.WARNING) -> None:
        """Note that another place was asked, and tell of it: what was set up is of no use."""
        shown = reason[:_SHOWN]
        self._add(SourceUse(location=location, passed_over=shown))
        self._log(level, location, False, "%s is passed over: %s", location, shown)

    def take(self) -> list[SourceUse]:
        """Return what there is since the last time."""
        taken, self._uses = merged(self._uses), []
        return taken

    def _add(self, use: SourceUse) -> None:
        self._uses = merged([*self._uses, use])

    def _log(self, level: int, location: str, is_good: bool, text: str, *words: str) -> None:  # noqa: FBT001 - a key
        # What repeats itself with each layer is told once, and then to those who look closer.
        is_new = (location, is_good) not in self._told
        self._told.add((location, is_good))
        _log.log(level if is_new else logging.DEBUG, text, *words)
