"""What is in ``loader/entries``: one's own entries, damaged ones, and everybody else's names.

An entry is this installation's own if its line ``x-bootd-installation`` says so. An entry without
that line, from an older bootd, is its own if the store has the deployment; a store that has no ID
yet takes every entry without that line for its own, as older versions did. Entries of another
installation of bootd on the same ``$BOOT`` are neighbours: they are read, to know what the boot
loader does, and never counted, changed or removed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from bootd.boot.entry import (
    INSTALLATION_KEY,
    MAX_SERIAL,
    PREFIX,
    BootEntry,
    is_own_name,
    parse_entry,
    parse_name,
    text_lines,
)
from bootd.boot.places import entry_files, read_text
from bootd.model.deployment import DeploymentId
from bootd.model.errors import InvalidBootEntryError, StorageError
from bootd.sysroot import Sysroot

_SERIAL: Final = re.compile(rf"{PREFIX}0*([0-9]{{1,9}})(?![0-9])", re.ASCII | re.IGNORECASE)
_READ_ATTEMPTS: Final = 3

Identity = tuple[int, DeploymentId]
"""Serial and deployment: what an entry is, under whatever counter it stands."""


@dataclass(frozen=True, slots=True)
class DamagedEntry:
    """A file that claims to be bootd's and is not as bootd writes it; it is left alone.

    Attributes:
        name: its file name.
        deployment: what it would boot, as far as the name says; that deployment must stay.
        problem: what is wrong, for people.
    """

    name: str
    deployment: DeploymentId | None
    problem: str


@dataclass(frozen=True, slots=True)
class EntryListing:
    """What is in ``loader/entries``.

    Attributes:
        entries: this installation's own, highest serial first.
        damaged: its own by name, but unusable.
        neighbours: those of other installations of bootd, highest serial first.
        foreign: names of all that are not this installation's, the neighbours' included.
    """

    entries: tuple[BootEntry, ...]
    damaged: tuple[DamagedEntry, ...]
    neighbours: tuple[BootEntry, ...]
    foreign: tuple[str, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the damaged ones."""
        return tuple(entry.problem for entry in self.damaged)


def list_entries(sysroot: Sysroot) -> EntryListing:
    """Return the boot entries; needs no lock.

    Raises:
        InvalidBootEntryError: the folder holds more files than can be meant.
        WriteFailedError: it cannot be read.
        DamagedRecordError: the store does not say which entries are its own.
    """
    return _sort_out(_read_files(sysroot), ownership(sysroot))


def own_names(sysroot: Sysroot) -> dict[str, Identity]:
    """Return the file names of this installation's entries, stale names of them included.

    Raises:
        InvalidBootEntryError, WriteFailedError, DamagedRecordError: see `list_entries`.
    """
    is_own = ownership(sysroot)
    names = {}
    for name, data in _read_files(sysroot):
        if is_own_name(name) and is_own(name, data):
            try:
                serial, deployment, _, _ = parse_name(name)
            except InvalidBootEntryError:
                continue
            names[name] = serial, deployment
    return names


def next_serial(sysroot: Sysroot) -> int:
    """Return a serial that sorts before every entry there is, anybody's and damaged ones included.

    What was noted of entries that are lost counts, too: they may be put back.

    Raises:
        InvalidBootEntryError: there is no higher serial.
    """
    names = [path.name for path in entry_files(sysroot)]
    names += _noted_names(sysroot)
    serial = 1 + highest_serial(names)
    if serial > MAX_SERIAL:
        raise InvalidBootEntryError(f"an entry has the serial {serial - 1}, the last there is")
    return serial


def highest_serial(names: Iterable[str]) -> int:
    """Return the highest serial that file names have, anybody's and damaged ones'; 0: none has."""
    matches = (_SERIAL.match(name) for name in names)
    return max((int(match[1]) for match in matches if match), default=0)


def _noted_names(sysroot: Sysroot) -> list[str]:
    try:
        return [entry.name for entry in sysroot.read_noted_entries().entries]
    except StorageError:
        # They are a copy: no upgrade has to wait for that.
        return []


def by_age(names: Iterable[str]) -> list[str]:
    """Sort names of one entry, the one latest in its life first."""

    def tries_left(name: str) -> int:
        left = parse_name(name)[2]
        return -1 if left is None else left

    return sorted(names, key=tries_left)


def default_pattern(configuration: bytes) -> str | None:
    """Return the ``default`` of a loader.conf(5) that counts: the last one."""
    patterns = [
        line.split(maxsplit=1)[1:] for line in configuration.splitlines() if is_default(line)
    ]
    return patterns[-1][0].strip().decode(errors="replace") if patterns and patterns[-1] else None


def is_default(line: bytes) -> bool:
    """Tell whether a line of loader.conf(5) sets the default."""
    return line.split(maxsplit=1)[:1] == [b"default"]


def _read_files(sysroot: Sysroot) -> list[tuple[str, bytes]]:
    files: list[tuple[str, bytes]] = []
    for _ in range(_READ_ATTEMPTS):
        paths = entry_files(sysroot)
        files = [(path.name, data) for path in paths if (data := read_text(path)) is not None]
        if len(files) == len(paths):
            break
        # One was renamed while we read: its new name is there now.
    return files


def ownership(sysroot: Sysroot) -> Callable[[str, bytes], bool]:
    """Return what tells whether a file with one of bootd's names is this installation's.

    It takes the file's name and content.

    Raises:
        DamagedRecordError: the store does not say which entries are its own.
    """
    installation = sysroot.installation()
    known = frozenset(sysroot.deployment_ids())

    def is_own(name: str, data: bytes) -> bool:
        owner = dict(text_lines(data)).get(INSTALLATION_KEY)
        if owner is not None:
            return owner == installation
        deployment = _deployment_of(name)
        # What has no legible name may be anybody's, and is told of rather than passed over.
        return installation is None or deployment is None or deployment in known

    return is_own


def _sort_out(files: list[tuple[str, bytes]], is_own: Callable[[str, bytes], bool]) -> EntryListing:
    newest: dict[Identity, BootEntry] = {}
    damaged: list[DamagedEntry] = []
    neighbours: dict[Identity, BootEntry] = {}
    foreign: list[str] = []
    for name, data in files:
        own = is_own_name(name) and is_own(name, data)
        if not own:
            foreign.append(name)
        if not is_own_name(name):
            continue
        try:
            _take(newest if own else neighbours, parse_entry(name, data))
        except InvalidBootEntryError as error:
            if own:
                damaged.append(DamagedEntry(name, _deployment_of(name), error.message))
    return EntryListing(
        entries=_highest_first(newest),
        damaged=tuple(damaged),
        neighbours=_highest_first(neighbours),
        foreign=tuple(foreign),
    )


def _take(newest: dict[Identity, BootEntry], entry: BootEntry) -> None:
    identity = entry.serial, entry.deployment
    twin = newest.get(identity)
    if twin is None or by_age([entry.file_name, twin.file_name])[0] == entry.file_name:
        newest[identity] = entry


def _highest_first(newest: dict[Identity, BootEntry]) -> tuple[BootEntry, ...]:
    return tuple(newest[identity] for identity in sorted(newest, reverse=True))


def _deployment_of(name: str) -> DeploymentId | None:
    try:
        return parse_name(name)[1]
    except InvalidBootEntryError:
        return None
