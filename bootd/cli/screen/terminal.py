"""What a terminal can show: which characters it has, and how many rows a text takes on it.

Sources: locale(7) for character sets, Unicode Standard Annex 11 for the width of characters.
"""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TextIO

from bootd.startup import later

with later():
    import unicodedata  # a megabyte, and most lines are ASCII

_HANDLER: Final = "bootd.terminal"
_SUBSTITUTES: Final = {
    "●": "*",
    "○": "o",
    "→": "->",
    "…": "...",
    "—": "-",
    "\N{EN DASH}": "-",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "“": '"',
    "”": '"',
    "\N{MULTIPLICATION SIGN}": "x",
    "│": "|",
    "├": "|",
    "└": "`",
    "─": "-",
}
"""What stands for the marks of bootd's own texts in a character set that lacks them."""
_WIDE: Final = frozenset("WF")
_MARKUP: Final = re.compile(r"\x1b\[[0-9;]*m")
_USUAL: Final = os.terminal_size((80, 24))


def adapt(stream: TextIO | None) -> None:
    """Let a stream take any text: what its character set lacks is written in ASCII.

    The marks of bootd's own texts have substitutes; any other character, from a label or a file's
    name, is written as an escape, as `bootd.model.text.printable` writes what nobody may draw.
    """
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_HANDLER)


def in_charset(text: str, stream: TextIO) -> str:
    """Return a text as an adapted stream shows it."""
    return (
        text if text.isascii() else text.encode(_charset(stream), _HANDLER).decode(_charset(stream))
    )


def has_all(text: str, stream: TextIO) -> bool:
    """Return whether a stream's character set has every character of a text."""
    try:
        text.encode(_charset(stream))
    except UnicodeEncodeError:
        return False
    return True


def size(environment: Mapping[str, str], descriptor: int = 1) -> os.terminal_size:
    """Return a terminal's columns and lines; 80 and 24 where nobody knows, as on a serial line.

    Args:
        environment: ``COLUMNS`` and ``LINES`` come first.
        descriptor: an open file of the terminal; standard output if not given.
    """
    columns, lines = (_number(environment, name) for name in ("COLUMNS", "LINES"))
    if not (columns and lines):
        asked = os.terminal_size((0, 0))
        with suppress(OSError):
            asked = os.get_terminal_size(descriptor)
        columns = columns or asked.columns or _USUAL.columns
        lines = lines or asked.lines or _USUAL.lines
    return os.terminal_size((columns, lines))


def rows(text: str, columns: int) -> int:
    """Return how many rows of a terminal a text takes, with lines that are too wide wrapped."""
    plain = _MARKUP.sub("", text).expandtabs()
    return sum(max(1, -(-_width(line) // columns)) for line in plain.split("\n"))


def _charset(stream: TextIO) -> str:
    # A stream in memory has none and takes any character.
    return getattr(stream, "encoding", None) or "utf-8"


def _width(line: str) -> int:
    if line.isascii():
        return len(line)
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in _WIDE)
        for letter in line
    )


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else 0


def _substitute(error: UnicodeError) -> tuple[str, int]:
    """Write what a character set lacks in ASCII; the handler that `codecs` calls."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    text = "".join(_SUBSTITUTES.get(letter) or ascii(letter)[1:-1] for letter in missing)
    return text, error.end


codecs.register_error(_HANDLER, _substitute)
