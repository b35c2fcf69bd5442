"""Account databases as lines: passwd(5), group(5), shadow(5), gshadow(5), subuid(5), subgid(5).

A line that is a row has a name and enough fields; every other one (comments, NIS ``+`` and ``-``
lines, blank and malformed lines) is opaque and stays as it is. Of several rows of one name the
first one counts, as it does for getpwnam(3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

Row = tuple[bytes, ...]

PASSWD: Final = "passwd"  # noqa: S105 - a file name
GROUP: Final = "group"
SHADOW: Final = "shadow"
GSHADOW: Final = "gshadow"
SUBUID: Final = "subuid"
SUBGID: Final = "subgid"
DATABASES: Final = (PASSWD, GROUP, SHADOW, GSHADOW, SUBUID, SUBGID)

PASSWORD: Final = 1
ID: Final = 2
PRIMARY_GROUP: Final = 3
GROUP_MEMBERS: Final = 3
LISTS: Final = {GROUP: (3,), GSHADOW: (2, 3)}
"""The fields that are lists of names."""
MAX_ID: Final = 2**32 - 2
"""The largest number that is an id; the next one means 'none' (chown(2))."""

_FEWEST_FIELDS: Final = {PASSWD: 7, GROUP: 3, SHADOW: 2, GSHADOW: 2, SUBUID: 3, SUBGID: 3}
_NUMBERS: Final = {PASSWD: (2, 3), GROUP: (2,), SUBUID: (1, 2), SUBGID: (1, 2)}


@dataclass(slots=True)
class Table:
    """One database, read.

    Attributes:
        lines: all of it in order; a name stands for its row, bytes for an opaque line.
        rows: the row that counts for each name.
        malformed: how many lines are neither rows nor comments, NIS or blank lines.
        doubled: names with a further row; those are opaque lines.
    """

    lines: list[Line] = field(default_factory=list)
    rows: dict[bytes, Row] = field(default_factory=dict)
    malformed: int = 0
    doubled: list[bytes] = field(default_factory=list)

    def opaque(self) -> list[bytes]:
        """Return the lines that are no rows."""
        return [line.text for line in self.lines if line.name is None]


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        text: its bytes without the newline.
        name: whose row it is; None: it is opaque.
        again: a further row of this name; the row that counts came before it.
    """

    text: bytes
    name: bytes | None = None
    again: bytes | None = None


def read_table(database: str, data: bytes) -> Table:
    """Read a database; nothing in it is an error."""
    table = Table()
    for text in data.removesuffix(b"\n").split(b"\n") if data else []:
        row = _row(database, text)
        if row is None:
            table.malformed += not _is_plain(text)
            table.lines.append(Line(text))
        elif row[0] in table.rows:
            table.doubled.append(row[0])
            table.lines.append(Line(text, again=row[0]))
        else:
            table.rows[row[0]] = row
            table.lines.append(Line(text, name=row[0]))
    return table


def read_ranges(database: str, data: bytes) -> dict[bytes, tuple[Row, ...]]:
    """Return each owner's rows of subuid or subgid."""
    ranges: dict[bytes, list[Row]] = {}
    for text in data.split(b"\n"):
        row = _row(database, text)
        if row is not None:
            ranges.setdefault(row[0], []).append(row)
    return {name: tuple(rows) for name, rows in ranges.items()}


def write_lines(lines: Sequence[bytes], mine: bytes) -> bytes:
    """Return lines as a file; where they are those of mine, exactly mine."""
    if list(lines) == (mine.removesuffix(b"\n").split(b"\n") if mine else []):
        return mine
    return b"".join(line + b"\n" for line in lines)


def members(row: Row, index: int) -> list[bytes]:
    """Return the names in a field that is a list; a missing field is an empty one."""
    return [name for name in row[index].split(b",") if name] if index < len(row) else []


def merge_members(
    base: Iterable[bytes], mine: Sequence[bytes], theirs: Sequence[bytes]
) -> list[bytes]:
    """Merge lists of names as sets, in the order of mine, then of theirs."""
    before = set(base)
    removed = before - set(theirs)
    kept = dict.fromkeys(name for name in mine if name not in removed)
    return list(kept | dict.fromkeys(name for name in theirs if name not in before))


def _row(database: str, text: bytes) -> Row | None:
    row = tuple(text.split(b":"))
    if _is_plain(text) or not row[0] or b"\0" in text or len(row) < _FEWEST_FIELDS[database]:
        return None
    numbers = (row[index] for index in _NUMBERS.get(database, ()))
    return row if all(_is_id(number) for number in numbers) else None


def _is_plain(text: bytes) -> bool:
    """Tell whether a line is blank, a comment or for NIS: no row, and nothing wrong with it."""
    return text.lstrip()[:1] in (b"", b"#", b"+", b"-")


def _is_id(number: bytes) -> bool:
    return number.isdigit() and len(number) <= len(str(MAX_ID)) and int(number) <= MAX_ID
