"""Whether a conflict of accounts is mended: somebody did what it asked for. Pure.

A conflict is about a row and says what it found, in the words of `bootd.etc.accounts.merge` and its
neighbours; these words are what deployments keep of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from bootd.etc.accounts.ranges import OTHER_RANGES
from bootd.etc.accounts.records import (
    ID,
    PASSWORD,
    SUBGID,
    SUBUID,
    Row,
    read_ranges,
    read_table,
)
from bootd.etc.accounts.rows import (
    FIELD_NAMES,
    LOCK_CLASHES,
    PASSWORD_CLASH,
    REMOVED_THERE,
    lock_of,
)
from bootd.model.errors import InvalidArgumentError
from bootd.model.etc.report import unescape

Databases = Mapping[str, bytes]

_ROW: Final = re.compile(r"(?:user |group )?'([^']*)': (.*)", re.DOTALL)
_FIELD: Final = re.compile(r"([a-z ]+) '[^']*' here, '[^']*' in the image; yours stays")
_HELD: Final = re.compile(r"with the id ([0-9]+), which belongs to '([^']*)' here")
_LEFT_OUT: Final = "left out, "


def is_mended(database: str, text: str, here: Databases, image: Databases) -> bool:
    """Tell whether what a conflict says no longer holds.

    Args:
        database: whose conflict it is.
        text: what it says.
        here: the machine's databases.
        image: those of the image that the conflict is with.
    """
    match = _ROW.fullmatch(text)
    if match is None:
        return False
    name, said = match.groups()
    if database in (SUBUID, SUBGID):
        return _has_ranges(database, said, name, here, image)
    held = _HELD.search(said)
    if held is not None:
        holder = _row(database, here, held[2])
        return holder is None or int(holder[ID]) != int(held[1])
    mine, theirs = (_row(database, side, name) for side in (here, image))
    if said.startswith(_LEFT_OUT):
        return mine is not None
    if mine is None or theirs is None:
        return mine is None and said == REMOVED_THERE
    return _is_field_mended(database, said, mine, theirs)


def _is_field_mended(database: str, said: str, mine: Row, theirs: Row) -> bool:
    if said in LOCK_CLASHES.values():
        return lock_of(mine[PASSWORD]) is lock_of(theirs[PASSWORD])
    if said == PASSWORD_CLASH:
        return mine[PASSWORD] == theirs[PASSWORD]
    field = _FIELD.fullmatch(said)
    names = FIELD_NAMES.get(database, ())
    if field is None or field[1] not in names:
        return False
    index = names.index(field[1])
    return mine[index : index + 1] == theirs[index : index + 1]


def _has_ranges(database: str, said: str, name: str, here: Databases, image: Databases) -> bool:
    mine, theirs = (
        read_ranges(database, side.get(database, b"")).get(_bytes(name)) for side in (here, image)
    )
    if mine is None:
        return False
    return said.startswith(_LEFT_OUT) or (mine == theirs and said == OTHER_RANGES)


def _row(database: str, side: Databases, name: str) -> Row | None:
    return read_table(database, side.get(database, b"")).rows.get(_bytes(name))


def _bytes(name: str) -> bytes:
    try:
        return unescape(name)
    except InvalidArgumentError:
        return b""
