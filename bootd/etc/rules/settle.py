"""Where the whole-file rules leave the account databases to the record-wise merge.

It runs as soon as the image changed one of the six, for all of them at once: a user is a row in
several. Without passwd and group as regular files on each side the whole-file rules stand.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final

from bootd.etc.accounts.chosen import Chosen, Move, moved, without_left_out
from bootd.etc.accounts.elsewhere import clashes_elsewhere
from bootd.etc.accounts.findings import WORD, Finding
from bootd.etc.accounts.merge import merge_accounts
from bootd.etc.accounts.records import DATABASES, GROUP, PASSWD
from bootd.etc.accounts.rows import shown
from bootd.etc.disk.contents import Contents
from bootd.etc.disk.descriptors import chunks_of, closing, open_file
from bootd.etc.rules.compare import same_content
from bootd.etc.rules.plan import Conflict, Plan, Side, Tally, Versions
from bootd.model.etc.report import ConflictKind, EtcNote, NoteKind, etc_path
from bootd.model.tree import Directory, RegularFile


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a merge of accounts has to know that is in none of the three ``/etc``.

    Attributes:
        base: passwd and group below ``/usr/lib`` of the image that the machine runs (nss-altfiles).
        theirs: those of the new one.
        chosen: what earlier merges decided.
        moves: names that get the number which the new image has for them.
    """

    base: dict[str, bytes] = field(default_factory=dict)
    theirs: dict[str, bytes] = field(default_factory=dict)
    chosen: Chosen = field(default_factory=Chosen)
    moves: tuple[Move, ...] = ()


MAX_DATABASE: Final = 16 << 20
"""Largest account database, in bytes, that is merged by record."""


def settle_accounts(
    plan: Plan,
    sides: tuple[Directory, Directory, Directory],
    mine: int,
    contents: Contents,
    elsewhere: Elsewhere,
) -> list[EtcNote]:
    """Put the merged account databases into a plan, with their conflicts; return the notes.

    Args:
        plan: what the whole-file rules decided.
        sides: base, mine and theirs.
        mine: a descriptor of the machine's ``/etc``.
        contents: where image files come from.
        elsewhere: accounts that the images have below ``/usr/lib``.

    Raises:
        DamagedObjectError: a content of an image is missing.
    """
    versions = {
        name: Versions(*(side.entries.get(name.encode()) for side in sides)) for name in DATABASES
    }
    clashes = clashes_elsewhere(databases_of(mine), elsewhere.base, elsewhere.theirs)
    same = all(same_content(one.base, one.theirs) for one in versions.values())
    if same and not any(elsewhere.chosen.left_out.values()):
        return _tell(plan, clashes, versions)
    read: tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes]] = {}, {}, {}
    for name, three in versions.items():
        for side, node, found in zip((None, mine, None), three, read, strict=True):
            data = _read(name.encode(), node, side, contents)
            if data is not None:
                found[name] = data
        if three.base is None and three.mine is None and name in read[2]:
            read[1][name] = b""
    if not all({PASSWD, GROUP} <= side.keys() for side in read):
        return _tell(plan, clashes, versions)
    before = without_left_out(read[0], elsewhere.chosen)
    here = moved(read[1], elsewhere.moves)
    merged = merge_accounts(before, here, read[2], elsewhere.theirs)
    clashes += [_told(move) for move in elsewhere.moves]
    for name, data in merged.contents.items():
        _put(plan, versions[name], name.encode(), data, (read[1][name], read[2].get(name, b"")))
    return _tell(plan, [*merged.findings, *clashes], versions)


def accounts_to_come(
    base: Directory, mine: int, theirs: Directory, contents: Contents, elsewhere: Elsewhere
) -> dict[str, bytes]:
    """Return the account databases that a merge would leave, as far as they can be read.

    Args:
        base: the defaults that the machine runs with.
        mine: a descriptor of the machine's ``/etc``.
        theirs: the new defaults.
        contents: where image files come from.
        elsewhere: accounts that the images have below ``/usr/lib``.

    Raises:
        DamagedObjectError: a content of an image is missing.
    """
    before, there = (databases_in(defaults, contents) for defaults in (base, theirs))
    before = without_left_out(before, elsewhere.chosen)
    here = databases_of(mine)
    if before == there or not all({PASSWD, GROUP} <= side.keys() for side in (before, here, there)):
        return here
    absent = dict.fromkeys(there.keys() - here.keys() - before.keys(), b"")
    here = moved({**here, **absent}, elsewhere.moves)
    return {**here, **merge_accounts(before, here, there, elsewhere.theirs).contents}


def databases_in(defaults: Directory, contents: Contents) -> dict[str, bytes]:
    """Return the account databases of an image's ``/etc``, as far as they can be read.

    Raises:
        DamagedObjectError: a content of the image is missing.
    """
    nodes = {name: defaults.entries.get(name.encode()) for name in DATABASES}
    read = {name: _read(name.encode(), node, None, contents) for name, node in nodes.items()}
    return {name: data for name, data in read.items() if data is not None}


def databases_of(etc: int) -> dict[str, bytes]:
    """Return the account databases in an open ``/etc``, but for those that are too large."""
    read = {}
    for name in DATABASES:
        with closing(open_file(name.encode(), etc)) as descriptor:
            if descriptor is not None and os.fstat(descriptor).st_size <= MAX_DATABASE:
                read[name] = b"".join(chunks_of(descriptor, MAX_DATABASE))
    return read


def _told(move: Move) -> Finding:
    text = (
        f"{WORD[move.database]} {shown(move.name)}: has the image's id {move.new} from now on; no "
        f"file here has {move.old}, which an upgrade had chosen for it"
    )
    return Finding(move.database, text, conflict=False)


def _put(
    plan: Plan, versions: Versions, path: bytes, data: bytes, sources: tuple[bytes, bytes]
) -> None:
    mine, theirs = sources
    outcome = plan.at(path)
    if outcome is None:
        return
    content, side = RegularFile(outcome.metadata, len(data), data), Side.MINE
    if data == mine and isinstance(versions.mine, RegularFile):
        content = versions.mine
    elif data == theirs and isinstance(versions.theirs, RegularFile):
        content, side = versions.theirs, Side.THEIRS
    if not same_content(outcome.content, content):
        outcome = outcome.with_content(content, side)
    clashes = (one for one in plan.conflicts if one.path == path)
    clash = next((one for one in clashes if one.kind is ConflictKind.CONTENT), None)
    if clash is None:
        plan.put(path, outcome)
    else:
        plan.resolve(clash, outcome, Tally.MERGED)


def _tell(plan: Plan, findings: list[Finding], versions: dict[str, Versions]) -> list[EtcNote]:
    """Add the findings that are conflicts to a plan; return the others as notes."""
    plan.ask(
        Conflict(one.database.encode(), ConflictKind.ACCOUNT, versions[one.database], one.text)
        for one in findings
        if one.conflict
    )
    return [
        EtcNote(path=etc_path(one.database.encode()), kind=NoteKind.ACCOUNT, detail=one.text)
        for one in findings
        if not one.conflict
    ]


def _read(name: bytes, node: object, mine: int | None, contents: Contents) -> bytes | None:
    """Return a database's content; None where it is no regular file, or too large."""
    if not isinstance(node, RegularFile) or node.size > MAX_DATABASE:
        return None
    if node.content is not None:
        return node.content
    with closing(contents.open(node) if mine is None else open_file(name, mine)) as descriptor:
        return None if descriptor is None else b"".join(chunks_of(descriptor, MAX_DATABASE))
