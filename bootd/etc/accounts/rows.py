"""Merging one row of an account database that both sides have, field by field.

A field changed on one side is taken, on both differently mine stays. Ids never change, because
files here belong to them. Whether a password opens an account, locks it, or is looked up elsewhere
never changes either: a merge neither unlocks an account nor locks anybody out. A password and the
day of its last change are one. Passwords are never named in what is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from bootd.etc.accounts.records import (
    GROUP,
    GSHADOW,
    ID,
    LISTS,
    PASSWD,
    PASSWORD,
    SHADOW,
    Row,
    members,
    merge_members,
)
from bootd.model.etc.report import escape

_LAST_CHANGE: Final = 2
FIELD_NAMES: Final = {
    PASSWD: ("name", "password", "id", "primary group", "full name", "home", "shell"),
    GROUP: ("name", "password", "id", "members"),
    SHADOW: (
        "name", "password", "last change", "minimum age", "maximum age", "warning", "inactivity",
        "expiry", "flag",
    ),
    GSHADOW: ("name", "password", "administrators", "members"),
}  # fmt: skip
PASSWORD_CLASH: Final = "the password was changed on both sides; yours stays"  # noqa: S105 - a text
REMOVED_THERE: Final = "removed by the image, changed here; yours stays"
_SHOWN: Final = 64


class Lock(Enum):
    """What a password field does, so far as a merge must not change it."""

    OPEN = auto()
    LOCKED = auto()
    ELSEWHERE = auto()


def lock_of(password: bytes) -> Lock:
    """Return what a password field does (crypt(5), shadow(5)); an empty one opens."""
    if password == b"x":
        return Lock.ELSEWHERE
    return Lock.LOCKED if password[:1] in (b"!", b"*") else Lock.OPEN


@dataclass(slots=True)
class RowMerge:
    """Merges one row.

    `clashes` are sentences about the fields where mine stands against theirs, `remarks` such as
    need no decision.
    """

    database: str
    base: Row | None
    mine: Row
    theirs: Row
    clashes: list[str]
    remarks: list[str]

    def merged(self) -> Row:
        """Return the merged row."""
        fields = list(self.mine)
        width = max(len(self.mine), len(self.theirs))
        fields += [b""] * (width - len(fields))
        for index in range(1, width):
            fields[index] = self._field(index)
        if len(self.mine) < width and not any(fields[len(self.mine) :]):
            del fields[len(self.mine) :]
        return tuple(fields)

    def _field(self, index: int) -> bytes:
        if index in LISTS.get(self.database, ()):
            return self._list(index)
        if index == PASSWORD:
            return self._password()
        if self.database == SHADOW and index == _LAST_CHANGE:
            return self._last_change()
        base, mine, theirs = (self._at(row, index) for row in (self.base, self.mine, self.theirs))
        if theirs in (mine, base):
            return mine or b""
        if index == ID and self.database in (PASSWD, GROUP):
            self._remark_id(mine, theirs)
        elif mine == base:
            return theirs or b""
        else:
            self._clash(index, mine, theirs)
        return mine or b""

    def _remark_id(self, mine: bytes | None, theirs: bytes | None) -> None:
        self.remarks.append(
            f"id {shown(mine or b'')} here, {shown(theirs or b'')} in the image; it keeps its id, "
            "and files of the image that belong to it have that one too"
        )

    def _list(self, index: int) -> bytes:
        before = members(self.base, index) if self.base is not None else []
        mine, theirs = members(self.mine, index), members(self.theirs, index)
        return b",".join(merge_members(before, mine, theirs))

    def _password(self) -> bytes:
        mine, theirs = self.mine[PASSWORD], self.theirs[PASSWORD]
        base = None if self.base is None else self.base[PASSWORD]
        if theirs in (mine, base):
            return mine
        if lock_of(mine) is not lock_of(theirs):
            self.clashes.append(LOCK_CLASHES[lock_of(mine)])
        elif mine == base:
            return theirs
        elif lock_of(mine) is Lock.OPEN:
            self.clashes.append(PASSWORD_CLASH)
        return mine

    def _last_change(self) -> bytes:
        base, mine, theirs = (
            self._at(row, _LAST_CHANGE) for row in (self.base, self.mine, self.theirs)
        )
        same_password = self.mine[PASSWORD] == self.theirs[PASSWORD]
        their_password = self.base is not None and self.mine[PASSWORD] == self.base[PASSWORD]
        taken = same_password or (
            their_password and lock_of(self.mine[PASSWORD]) is lock_of(self.theirs[PASSWORD])
        )
        chosen = theirs if taken and mine == base else mine
        return chosen or b""

    def _at(self, row: Row | None, index: int) -> bytes | None:
        if row is None:
            return None
        return row[index] if index < len(row) else b""

    def _clash(self, index: int, mine: bytes | None, theirs: bytes | None) -> None:
        names = FIELD_NAMES[self.database]
        name = names[index] if index < len(names) else f"field {index + 1}"
        self.clashes.append(
            f"{name} {shown(mine or b'')} here, {shown(theirs or b'')} in the image; yours stays"
        )


LOCK_CLASHES: Final = {
    Lock.LOCKED: "the image would unlock it; it stays locked (passwd(1) sets a password)",
    Lock.OPEN: "the image locks it; its password stays as it is here (passwd -l locks it)",
    Lock.ELSEWHERE: "the image keeps its password in another place; it stays where it is here",
}


def shown(text: bytes) -> str:
    """Return a name or field for people, bounded."""
    return f"'{escape(text[:_SHOWN])}'"
