"""Small pieces that all renderings share: sizes, times, digests, tables.

Text that comes from an image or from file names passes `bootd.model.text.printable`, so that nobody
can draw on an administrator's terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from bootd.cli.style import Style
from bootd.model.text import printable

__all__ = ["count", "fields", "moment", "printable", "short_digest", "size", "table"]

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP: Final = 1000
_SHORT_DIGEST: Final = 12
_GAP: Final = "  "


def size(count: int) -> str:
    """Return a number of bytes in decimal units: ``999 B``, ``1.5 kB``, ``724.0 MB``."""
    value = float(count)
    for unit in _UNITS:
        if value < _STEP or unit == _UNITS[-1]:
            return f"{int(value)} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    raise AssertionError(count)


def moment(when: datetime) -> str:
    """Return a time in UTC, to the minute."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def short_digest(digest: str) -> str:
    """Return the digest's algorithm and first digits, enough for people."""
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm}:{digits[:_SHORT_DIGEST]}"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return ``1 image``, ``2 images``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], style: Style) -> str:
    """Return left-aligned columns below a header; the last one is as wide as it likes."""
    lines = [tuple(header), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([style.bold(text[0]), *text[1:]])


def bounded(lines: Sequence[str], most: int, rest: str, style: Style) -> list[str]:
    """Return lines, or the first of them and how many more there are, with a word on those.

    Args:
        lines: one an item.
        most: how many a screen is to hold.
        rest: where the others are to be seen.
        style: `Style.full` lets all of them be written.
    """
    if style.full or len(lines) <= most:
        return list(lines)
    return [*lines[:most], style.faint(f"  … and {len(lines) - most} more; {rest}")]


def fields(pairs: Sequence[tuple[str, str]], indent: str = "") -> str:
    """Return ``name  value`` lines with the values in one column; empty values are left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{indent}{name.ljust(width)}{_GAP}{value}" for name, value in shown)
