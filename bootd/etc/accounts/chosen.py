"""Numbers that merges chose for users and groups of an image, and whom they left out. Pure.

Both are decisions of bootd, and none of the administrator's: where a later image has a number that
is free here, a name may get it as long as no file belongs to the one it has; and whoever was left
out is new again to the next merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from bootd.etc.accounts.records import (
    GROUP,
    GSHADOW,
    ID,
    LISTS,
    PASSWD,
    PRIMARY_GROUP,
    members,
    read_table,
    write_lines,
)

Databases = Mapping[str, bytes]

_BOTH: Final = (PASSWD, GROUP)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What merges decided about the users and groups of a machine.

    Attributes:
        numbers: by database (passwd, group), then by name: the number that a merge chose.
        left_out: by database, the names that a merge left out.
    """

    numbers: Mapping[str, Mapping[bytes, int]] = field(default_factory=dict)
    left_out: Mapping[str, frozenset[bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """A name that could get the number it has in the image.

    Attributes:
        database: passwd or group.
        name: whose.
        old: what a merge chose for it.
        new: what the image has for it, which nobody has here.
    """

    database: str
    name: bytes
    old: int
    new: int


def chosen_after(
    before: Chosen, base: Databases, mine: Databases, theirs: Databases, merged: Databases
) -> Chosen:
    """Return what stands of the decisions of all merges, after one more.

    Args:
        before: what stood before it.
        base: the defaults that the machine ran with.
        mine: what it had.
        theirs: the new defaults.
        merged: what the merge made.
    """
    numbers: dict[str, dict[bytes, int]] = {}
    left_out: dict[str, frozenset[bytes]] = {}
    for database in _BOTH:
        rows = [_ids(database, side) for side in (base, mine, theirs, merged)]
        known = before.numbers.get(database, {})
        numbers[database] = {
            name: number
            for name, number in rows[3].items()
            if number != rows[2].get(name)
            and ((name not in rows[1] and name in rows[2]) or known.get(name) == number)
        }
        out = before.left_out.get(database, frozenset())
        left_out[database] = frozenset(
            name
            for name in rows[2].keys() - rows[3].keys() - rows[1].keys()
            if name not in rows[0] or name in out
        )
    return Chosen(numbers, left_out)


def possible_moves(
    chosen: Chosen, base: Databases, mine: Databases, theirs: Databases
) -> Iterator[Move]:
    """Yield which names could get the image's number, if no file here has either of the two."""
    for database in _BOTH:
        before, here, there = (_ids(database, side) for side in (base, mine, theirs))
        for name, number in chosen.numbers.get(database, {}).items():
            wanted = there.get(name)
            if here.get(name) != number or wanted is None or wanted == number:
                continue
            holders = {
                other
                for side in (before, here, there)
                for other, taken in side.items()
                if taken == wanted
            }
            if holders <= {name} and list(here.values()).count(number) == 1:
                yield Move(database, name, number, wanted)


def without_left_out(base: Databases, chosen: Chosen) -> dict[str, bytes]:
    """Return the defaults without those whom a merge left out: they are new to the next one."""
    users, groups = (chosen.left_out.get(one, frozenset()) for one in _BOTH)
    if not users | groups:
        return dict(base)
    return {
        name: _without(name, data, groups if name in (GROUP, GSHADOW) else users, users)
        for name, data in base.items()
    }


def moved(mine: Databases, moves: Iterable[Move]) -> dict[str, bytes]:
    """Return databases in which names have the numbers of the image, and users follow groups."""
    files = dict(mine)
    for move in moves:
        files[move.database] = _renumbered(move.database, files[move.database], ID, move)
        if move.database == GROUP:
            users = files[PASSWD]
            files[PASSWD] = _renumbered(PASSWD, users, PRIMARY_GROUP, replace(move, name=b""))
    return files


def _renumbered(database: str, data: bytes, index: int, move: Move) -> bytes:
    """Change a number in the rows of the move's name; without a name in all rows."""
    table = read_table(database, data)
    lines = []
    for line in table.lines:
        row = None if line.name is None else table.rows[line.name]
        if row is None or int(row[index]) != move.old or move.name not in (b"", line.name):
            lines.append(line.text)
        else:
            number = str(move.new).encode()
            lines.append(b":".join((*row[:index], number, *row[index + 1 :])))
    return write_lines(lines, data)


def _without(
    database: str, data: bytes, gone: AbstractSet[bytes], users: AbstractSet[bytes]
) -> bytes:
    """Take names out, and users out of the lists of members."""
    table = read_table(database, data)
    lines = []
    for line in table.lines:
        name = line.text.partition(b":")[0]
        if line.name is None or name in gone:
            lines += [] if name in gone else [line.text]
            continue
        row = list(table.rows[line.name])
        for index in LISTS.get(database, ()):
            if index < len(row):
                row[index] = b",".join(
                    one for one in members(tuple(row), index) if one not in users
                )
        lines.append(b":".join(row))
    return write_lines(lines, data)


def _ids(database: str, side: Databases) -> dict[bytes, int]:
    rows = read_table(database, side.get(database, b"")).rows
    return {name: int(row[ID]) for name, row in rows.items()}
