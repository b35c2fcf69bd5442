"""The merge of all account databases at once, since their rows belong together.

Which users go is decided first, then groups, whose members they were, then users, then what depends
on either. Of theirs, new rows arrive; one whose id is taken here by another name gets a free one,
which its files have too (`bootd.operations.etc.owners`). Only where there is none, or its primary
group does not arrive, a name is left out everywhere and reported; group numbers of arriving users
follow the group's name. What the image removed goes where nothing of it was changed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bootd.etc.accounts.findings import WORD, Finding
from bootd.etc.accounts.ranges import merge_ranges
from bootd.etc.accounts.records import (
    DATABASES,
    GROUP,
    GROUP_MEMBERS,
    GSHADOW,
    ID,
    LISTS,
    PASSWD,
    PASSWORD,
    PRIMARY_GROUP,
    SHADOW,
    SUBGID,
    SUBUID,
    Row,
    Table,
    members,
    read_table,
    write_lines,
)
from bootd.etc.accounts.rows import REMOVED_THERE, Lock, RowMerge, lock_of, shown

Databases = Mapping[str, bytes]

_SHADOWS: Final = {PASSWD: SHADOW, GROUP: GSHADOW}
_WAY_OUT: Final = {
    PASSWD: "once it runs, 'useradd --system NAME' gives it a free id",
    GROUP: "once it runs, 'groupadd --system NAME' gives it a free id",
}
_SYSTEM_IDS: Final = range(999, 99, -1)
"""Where accounts of programs get a number, the highest first (systemd, SYSTEM_UID_MAX; Debian
Policy, section 9.2.2, has the lower ones for itself)."""
_LOGIN_IDS: Final = range(1_000, 60_000)
"""Where accounts of people have theirs (Debian Policy, section 9.2.2)."""
_LOCKED_ROW: Final = {SHADOW: b":!*:::::::", GSHADOW: b":!*::"}


@dataclass(slots=True)
class MergedAccounts:
    """The merged databases and what there is to say."""

    contents: dict[str, bytes]
    findings: list[Finding]


def merge_accounts(
    base: Databases, mine: Databases, theirs: Databases, elsewhere: Databases | None = None
) -> MergedAccounts:
    """Merge the databases that mine and theirs have; passwd and group have to be among them.

    Shadow and gshadow are merged even where only mine has them, as images whose accounts are made
    at boot leave it: whoever arrives needs a row there, and whoever is none should have none.

    Args:
        base: the defaults that the machine ran with.
        mine: what it has.
        theirs: the new defaults.
        elsewhere: passwd and group below ``/usr/lib`` of the new image (nss-altfiles); whom they
            name may have rows of shadow and gshadow in ``/etc``.

    Where one side changed none of them the other's are the result, byte for byte; but that ids
    never change holds even where the machine changed nothing.
    """
    merged_here = {*theirs, SHADOW, GSHADOW}
    names: list[str] = [name for name in DATABASES if name in mine and name in merged_here]
    before, here, there = (
        {name: side.get(name, b"") for name in names} for side in (base, mine, theirs)
    )
    if there in (before, here):
        return MergedAccounts(here, [])
    if here == before and not _has_moved_ids(before, there):
        return MergedAccounts(there, _taken_over(before, there))
    sides = before, here, there
    tables = [{name: read_table(name, side[name]) for name in names} for side in sides]
    known = {name: set(read_table(name, data).rows) for name, data in (elsewhere or {}).items()}
    merged = _Merging(tables[0], tables[1], tables[2], known).run(before, here, there)
    if merged.contents == before and not _has_moved_ids(before, there):
        # Healed, mine is as the defaults were; a merge of that would take theirs, so this one does.
        told = {finding.text for finding in merged.findings}
        more = [one for one in _taken_over(before, there) if one.text not in told]
        merged = MergedAccounts(there, [*merged.findings, *more])
    return merged


def _taken_over(before: Databases, there: Databases) -> list[Finding]:
    """Return whose number somebody gets who comes: files that are here change hands by that."""
    findings = []
    for database in (PASSWD, GROUP):
        old, new = (read_table(database, side[database]).rows for side in (before, there))
        free = {int(row[ID]): name for name, row in old.items() if name not in new}
        kept = {int(new[name][ID]) for name in old.keys() & new.keys()}
        for name, row in new.items():
            number = int(row[ID])
            if name not in old and number in free.keys() - kept:
                text = _taken_over_text(database, name, number, free[number])
                findings.append(Finding(database, text, conflict=True))
    return findings


def _taken_over_text(database: str, name: bytes, number: int, other: bytes) -> str:
    held = f"has the id {number} now, which was that of {shown(other)}"
    return f"{WORD[database]} {shown(name)}: {held}"


def _has_moved_ids(base: Databases, theirs: Databases) -> bool:
    """Tell whether a name of the defaults has another id in the new ones."""
    for database in (PASSWD, GROUP):
        before, after = (
            read_table(database, side.get(database, b"")).rows for side in (base, theirs)
        )
        if any(name in after and row[ID] != after[name][ID] for name, row in before.items()):
            return True
    return False


@dataclass(slots=True)
class _Merging:
    base: dict[str, Table]
    mine: dict[str, Table]
    theirs: dict[str, Table]
    elsewhere: dict[str, set[bytes]]
    rows: dict[str, dict[bytes, Row]] = field(default_factory=dict)
    gone: dict[str, set[bytes]] = field(default_factory=dict)
    left_out: dict[str, set[bytes]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def run(self, base: Databases, mine: Databases, theirs: Databases) -> MergedAccounts:
        self.gone[PASSWD] = self._removed(PASSWD)
        for database in (GROUP, PASSWD):
            self._decide(database)
        self._keep_primary_groups()
        self._leave_out_private_groups()
        self._drop_members(GROUP, (GROUP_MEMBERS,))
        contents = {}
        for database in (PASSWD, GROUP):
            self._note_oddities(database)
            contents[database] = self._write(database, mine[database])
        for database, shadow in _SHADOWS.items():
            if shadow in self.mine:
                self._shadow(database, shadow)
                contents[shadow] = self._write(shadow, mine[shadow])
        absent = self._absent()
        for database in (SUBUID, SUBGID):
            if database in self.mine:
                sides = base[database], mine[database], theirs[database]
                contents[database], clashes = merge_ranges(database, *sides, absent)
                self.findings += [Finding(database, text, conflict=True) for text in clashes]
        return MergedAccounts(contents, self.findings)

    def _decide(self, database: str) -> None:
        """Decide which rows of passwd or group stand, and merge them."""
        base, mine, theirs = self._rows(database)
        self.gone[database] = self._removed(database)
        self.left_out[database] = set()
        rows = {
            name: self._merge_row(database, name) if name in theirs else row
            for name, row in mine.items()
            if name not in self.gone[database]
        }
        self.rows[database] = rows
        owners: dict[int, list[bytes]] = {}
        for name, row in rows.items():
            owners.setdefault(int(row[ID]), []).append(name)
        for name in theirs.keys() - mine.keys():
            if name in base:
                self._tell(database, name, "deleted here; it stays deleted", conflict=False)
        for name, row in theirs.items():
            if name not in mine and name not in base:
                self._arrive(database, name, row, owners)
        self._tell_about_removed(database)

    def _removed(self, database: str) -> set[bytes]:
        """Return the names that the image removed and of which nothing was changed here."""
        base, mine, theirs = self._rows(database)
        absent = base.keys() & mine.keys() - theirs.keys()
        return {name for name in absent if not self._changed_here(database, name)}

    def _arrive(self, database: str, name: bytes, row: Row, owners: dict[int, list[bytes]]) -> None:
        theirs = self.theirs[database].rows
        number = int(row[ID])
        strangers = [
            other
            for other in owners.get(number, ())
            if other not in theirs or int(theirs[other][ID]) != number
        ]
        arriving: Row | None = row
        why = ""
        if database == PASSWD:
            arriving = self._with_primary_group(row)
            why = f"its primary group {_text(row[PRIMARY_GROUP])} is not that of the image here"
        if strangers and arriving is not None:
            why = f"its id {number} belongs to {shown(strangers[0])} here"
            arriving = self._with_free_id(database, name, arriving, why)
        if arriving is not None:
            self.rows[database][name] = arriving
            owners.setdefault(int(arriving[ID]), []).append(name)
            self._tell_taken_over(database, name, int(arriving[ID]))
            return
        self.left_out[database].add(name)
        self._tell(database, name, f"left out, because {why}; {_WAY_OUT[database]}", conflict=True)

    def _with_free_id(self, database: str, name: bytes, row: Row, why: str) -> Row | None:
        """Return a row of theirs with a number that nobody has, or None where all are taken."""
        number = self._free_id(database, name, int(row[ID]))
        if number is None:
            return None
        self._tell(database, name, f"{why}, so it has {number}", conflict=False)
        return (*row[:ID], str(number).encode(), *row[ID + 1 :])

    def _free_id(self, database: str, name: bytes, wanted: int) -> int | None:
        """Choose a number as systemd-sysusers(8) does: the group's of that name, or the highest.

        For people it is the lowest, as with useradd(8). What any side has for a user or a group is
        taken: files may belong to it.
        """
        used = {
            one: {int(row[ID]) for side in self._sides(one) for row in side.values()}
            for one in (PASSWD, GROUP)
        }
        group = self.rows.get(GROUP, {}).get(name)
        if database == PASSWD and group is not None and int(group[ID]) not in used[PASSWD]:
            return int(group[ID])
        ids = _SYSTEM_IDS if wanted in _SYSTEM_IDS or wanted < min(_SYSTEM_IDS) else _LOGIN_IDS
        taken = used[PASSWD] | used[GROUP]
        return next((one for one in ids if one not in taken), None)

    def _sides(self, database: str) -> tuple[dict[bytes, Row], ...]:
        return (*self._rows(database), self.rows.get(database, {}))

    def _with_primary_group(self, row: Row) -> Row | None:
        """Return a user's row of theirs with the number its primary group has here."""
        number = row[PRIMARY_GROUP]
        group = self._group_of(self.theirs[GROUP], number)
        if group is None:
            taken = {int(other[ID]) for other in self.rows[GROUP].values()}
            return None if int(number) in taken else row
        if group not in self.rows[GROUP]:
            return None
        here = self.rows[GROUP][group][ID]
        # Several names of one number are one group to the kernel: then the number itself is right.
        if int(here) != int(number):
            number = here
        return (*row[:PRIMARY_GROUP], number, *row[PRIMARY_GROUP + 1 :])

    def _group_of(self, table: Table, number: bytes) -> bytes | None:
        for name, row in table.rows.items():
            if int(row[ID]) == int(number):
                return name
        return None

    def _merge_row(self, database: str, name: bytes) -> Row:
        base, mine, theirs = (rows.get(name) for rows in self._rows(database))
        assert mine is not None
        assert theirs is not None
        if database == PASSWD:
            base_group = None if base is None else base[PRIMARY_GROUP]
            if theirs[PRIMARY_GROUP] != base_group:
                follows = self._with_primary_group(theirs)
                number = mine[PRIMARY_GROUP] if follows is None else follows[PRIMARY_GROUP]
                theirs = (*theirs[:PRIMARY_GROUP], number, *theirs[PRIMARY_GROUP + 1 :])
        clashes: list[str] = []
        remarks: list[str] = []
        merged = RowMerge(database, base, mine, theirs, clashes, remarks).merged()
        for text in clashes:
            self._tell(database, name, text, conflict=True)
        for text in remarks:
            self._tell(database, name, text, conflict=False)
        return merged

    def _changed_here(self, database: str, name: bytes) -> bool:
        """Tell whether the machine made something of a row of the base that outlives this merge.

        A row of shadow that is missing is healed, and a member who goes, or who is no user, is
        dropped: were such a row still a change, the next merge would see none and remove the name.
        """
        return any(
            row is not None and self._lasting(one, row) != self._lasting(one, base)
            for one in (database, _SHADOWS[database])
            if one in self.mine
            for row, base in [(self.mine[one].rows.get(name), self.base[one].rows.get(name))]
            # A locked row that was made here, since no image has any, is no decision.
            if self.base[one].rows
            or one == database
            or (row and lock_of(row[PASSWORD]) is Lock.OPEN)
        )

    def _lasting(self, database: str, row: Row | None) -> Row | None:
        if row is None or database not in LISTS:
            return row
        staying = self.mine[PASSWD].rows.keys() - self.gone.get(PASSWD, set())
        fields = list(row)
        for index in LISTS[database]:
            if index < len(row):
                listed = (one for one in members(row, index) if one in staying)
                fields[index] = b",".join(listed)
        return tuple(fields)

    def _tell_about_removed(self, database: str) -> None:
        base, mine, theirs = self._rows(database)
        for name in sorted(base.keys() & mine.keys() - theirs.keys() - self.gone[database]):
            self._tell(database, name, REMOVED_THERE, conflict=True)

    def _tell_taken_over(self, database: str, name: bytes, number: int) -> None:
        mine = self.mine[database].rows
        for other in self.gone[database]:
            if int(mine[other][ID]) == number:
                text = _taken_over_text(database, name, number, other)
                self.findings.append(Finding(database, text, conflict=True))

    def _keep_primary_groups(self) -> None:
        """Let no user's primary group go."""
        used = {int(row[PRIMARY_GROUP]) for row in self.rows[PASSWD].values()}
        known = {int(row[ID]) for row in self.rows[GROUP].values()}
        for name, row in self.mine[GROUP].rows.items():
            if name in self.gone[GROUP] and int(row[ID]) in used - known:
                known.add(int(row[ID]))
                self.gone[GROUP].discard(name)
                self.rows[GROUP][name] = row
                text = "removed by the image, but it is the primary group of a user; it stays"
                self._tell(GROUP, name, text, conflict=False)

    def _leave_out_private_groups(self) -> None:
        """Leave out the new group of a user who is left out: useradd(8) makes it itself."""
        used = {int(row[PRIMARY_GROUP]) for row in self.rows[PASSWD].values()}
        for name in self.left_out[PASSWD] & self.rows[GROUP].keys() - self.mine[GROUP].rows.keys():
            if int(self.rows[GROUP][name][ID]) not in used:
                del self.rows[GROUP][name]
                self.left_out[GROUP].add(name)
                self._tell(GROUP, name, "left out with the user of that name", conflict=False)

    def _drop_members(self, database: str, indices: tuple[int, ...]) -> None:
        """Name nobody as a member who is left out or gone, nor whom only the image still lists."""
        dropped, absent = self.left_out[PASSWD] | self.gone[PASSWD], self._absent()
        for name, row in self.rows[database].items():
            fields, mine = list(row), self.mine[database].rows.get(name, ())
            for index in indices:
                listed = members(row, index)
                unwanted = dropped | absent - set(members(mine, index))
                if unwanted & set(listed):
                    fields[index] = b",".join(one for one in listed if one not in unwanted)
            self.rows[database][name] = tuple(fields)

    def _absent(self) -> set[bytes]:
        """Return the users that were known on some side and are none of the result's."""
        known = set().union(*(side.keys() for side in self._rows(PASSWD)))
        return known - self.rows[PASSWD].keys()

    def _shadow(self, database: str, shadow: str) -> None:
        """Merge shadow or gshadow: one row for each name that is looked up there, and no other."""
        _, mine, theirs = self._rows(shadow)
        self.rows[shadow] = {}
        known = dict.fromkeys(self.elsewhere.get(database, ())) | self.rows[database]
        for name, row in known.items():
            if name in mine:
                merged = self._merge_row(shadow, name) if name in theirs else mine[name]
                self.rows[shadow][name] = merged
            elif name in theirs:
                self.rows[shadow][name] = theirs[name]
            elif row is not None and row[PASSWORD] == b"x":
                self.rows[shadow][name] = self._locked_row(shadow, name, row)
                self._tell(shadow, name, "it had no row; it has a locked one now", conflict=False)
        for name in mine.keys() - self.rows[shadow].keys() - self.gone[database]:
            text = f"a row without a {WORD[database]} was dropped"
            self._tell(shadow, name, text, conflict=False)
        for name in self.mine[shadow].doubled:
            self._tell(shadow, name, "a further row was dropped; the first counts", conflict=False)
        if shadow == GSHADOW:
            self._drop_members(GSHADOW, (2, 3))

    def _locked_row(self, shadow: str, name: bytes, row: Row) -> Row:
        listed = row[GROUP_MEMBERS] if shadow == GSHADOW and len(row) > GROUP_MEMBERS else b""
        return tuple((name + _LOCKED_ROW[shadow] + listed).split(b":"))

    def _note_oddities(self, database: str) -> None:
        table = self.mine[database]
        for name in table.doubled:
            self._tell(database, name, "it has a further row, kept as it is", conflict=False)
        if table.malformed:
            text = f"{table.malformed} lines could not be read and are kept as they are"
            self.findings.append(Finding(database, text, conflict=False))

    def _write(self, database: str, mine: bytes) -> bytes:
        """Write a database: mine's order, what arrives after the last row."""
        rows = dict(self.rows[database])
        their_removed = set(self.base[database].opaque()) - set(self.theirs[database].opaque())
        lines: list[bytes] = []
        end = 0
        for line in self.mine[database].lines:
            if line.name is not None:
                row = rows.pop(line.name, None)
                if row is not None:
                    lines.append(b":".join(row))
                    end = len(lines)
            elif not (self._is_dropped(database, line.again) or line.text in their_removed):
                lines.append(line.text)
        lines[end:end] = [b":".join(row) for row in rows.values()]
        known = {*self.base[database].opaque(), *self.mine[database].opaque()}
        lines += [text for text in self._new_opaque(database) if text not in known]
        return write_lines(lines, mine)

    def _new_opaque(self, database: str) -> list[bytes]:
        lines = self.theirs[database].lines
        return [line.text for line in lines if line.name is None and line.again is None]

    def _is_dropped(self, database: str, again: bytes | None) -> bool:
        """Tell whether a further row of a name is not kept."""
        if again is None:
            return False
        return database in (SHADOW, GSHADOW) or again not in self.rows[database]

    def _rows(self, database: str) -> tuple[dict[bytes, Row], dict[bytes, Row], dict[bytes, Row]]:
        return self.base[database].rows, self.mine[database].rows, self.theirs[database].rows

    def _tell(self, database: str, name: bytes, text: str, *, conflict: bool) -> None:
        text = f"{WORD[database]} {shown(name)}: {text}"
        self.findings.append(Finding(database, text, conflict=conflict))


def _text(number: bytes) -> str:
    return number.decode("ascii")
