"""Merging subuid and subgid: ranges of ids that belong to somebody's containers.

The rows of one owner are one value. Those of an owner who has some here never change, because files
may belong to the ids; those of a new one arrive unless they overlap somebody else's.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from bootd.etc.accounts.records import Row, read_ranges, read_table, write_lines
from bootd.etc.accounts.rows import shown

OTHER_RANGES: Final = "other ranges in the image; yours stay"


def merge_ranges(
    database: str, base: bytes, mine: bytes, theirs: bytes, absent: AbstractSet[bytes]
) -> tuple[bytes, list[str]]:
    """Return the merged file and a sentence for each owner whose rows in the image were not taken.

    Args:
        database: subuid or subgid.
        base: the defaults that the machine ran with.
        mine: what it has.
        theirs: the new defaults.
        absent: users of any side whom the merged passwd does not have.
    """
    before, here, there = (read_ranges(database, side) for side in (base, mine, theirs))
    removed = {
        owner
        for owner, rows in here.items()
        if rows == before.get(owner) and (owner not in there or owner in absent)
    }
    clashes: list[str] = []
    kept = [row for owner, rows in here.items() if owner not in removed for row in rows]
    lines = [
        line.text
        for line in read_table(database, mine).lines
        if (line.name or line.again) not in removed
    ]
    for owner, rows in there.items():
        if owner in here and owner not in removed:
            if rows not in (here[owner], before.get(owner)):
                clashes.append(f"{shown(owner)}: {OTHER_RANGES}")
        elif owner not in before and owner not in absent:
            if any(_overlap(row, other) for row in rows for other in kept):
                clashes.append(f"{shown(owner)}: left out, its ranges belong to others here")
            else:
                kept += rows
                lines += [b":".join(row) for row in rows]
    return write_lines(lines, mine), clashes


def _overlap(one: Row, other: Row) -> bool:
    start, other_start = int(one[1]), int(other[1])
    return start < other_start + int(other[2]) and other_start < start + int(one[2])
