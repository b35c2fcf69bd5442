"""Colours, where they are wanted, and how much is written.

``SYSTEMD_COLORS`` decides if it is set (systemd's environment variables), then ``NO_COLOR``
(no-color.org: any non-empty value), then whether a terminal reads along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

_OFF: Final = frozenset({"0", "no", "n", "false", "f", "off"})


class Style(NamedTuple):
    """How a document becomes text.

    Attributes:
        colour: mark text up for a terminal, or leave it plain.
        full: write long lists, and what belongs to each item, as a whole.
    """

    colour: bool = False
    full: bool = True

    def bold(self, text: str) -> str:
        """Mark what the eye should find first."""
        return self._wrap("1", text)

    def faint(self, text: str) -> str:
        """Mark what is there for completeness."""
        return self._wrap("2", text)

    def good(self, text: str) -> str:
        """Mark what is well."""
        return self._wrap("32", text)

    def warning(self, text: str) -> str:
        """Mark what somebody should look at."""
        return self._wrap("33", text)

    def bad(self, text: str) -> str:
        """Mark what is broken."""
        return self._wrap("1;31", text)

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text


def wants_colour(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Return whether to print colours."""
    asked = environment.get("SYSTEMD_COLORS")
    if asked:
        return asked.lower() not in _OFF
    if environment.get("NO_COLOR"):
        return False
    return terminal and environment.get("TERM") != "dumb"
