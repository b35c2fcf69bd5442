"""Text that comes from outside, made harmless: one rule for all of it.

Labels, annotations, references, file names, the words of other programs and of servers may hold
anything. What is not plainly printable is written as an escape, as Python writes it: a NUL would
end the daemon's connection to the bus, a line break would forge a line in the journal, and letters
that turn the direction of text (Unicode Standard Annex 9) would show another one than is there.
"""

from __future__ import annotations

from typing import Final

LINE_LIMIT: Final = 4_096
"""Characters of one line."""
_CUT: Final = "..."
_KEPT: Final = frozenset("\n\t")


def printable(text: str) -> str:
    """Return the text with everything that is not plainly printable written as an escape."""
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line(text: str, limit: int = LINE_LIMIT) -> str:
    """Return text as one line of at most `limit` printable characters."""
    return _bounded(printable(text[: limit + 1]), limit)


def lines(text: str, limit: int) -> str:
    """Return text of one or more lines, with at most `limit` characters, printable but for breaks.

    Line breaks and tabs stay.
    """
    cut = text[: limit + 1]
    if not cut.isprintable():
        cut = "".join(letter if letter in _KEPT else _shown(letter) for letter in cut)
    return _bounded(cut, limit)


def _shown(letter: str) -> str:
    return letter if letter.isprintable() else ascii(letter)[1:-1]


def _bounded(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - len(_CUT)] + _CUT
