"""The boot entries on ``$BOOT``: list, commit, bless, mark bad, remove.

Invariants: a foreign entry is never touched; an entry is whole and durable under a new name before
its old name goes, so at every cut the loader finds a whole entry; only `commit_entry` makes
something new bootable, and the sync after its rename is the commit point of an upgrade (design
section 5).

VFAT keeps where a file's content is beside its name, and Linux writes the new name of a renamed
file first without it (fs/fat/namei_vfat.c, vfat_rename); an fsync of the folder makes that durable,
and only writing the file's inode completes it. So a rename is followed by a syncfs, and changes of
the counter are copies. What a cut leaves is an empty file, which the loader passes over and
`heal_entries` removes, or an entry under two names that differ in the counter only, of which the
loader would boot the stale one. The name that comes later in an entry's life is the true one:
without counter, else with the fewest tries left.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bootd.boot.entry import (
    MAX_SERIAL,
    PREFIX,
    BootEntry,
    is_own_name,
    parse_entry,
    parse_name,
    render_entry,
)
from bootd.boot.order import default_entry, loader_entry
from bootd.boot.places import (
    entries_folder,
    entries_marker,
    entry_files,
    leftovers,
    loader_configuration,
    read_text,
)
from bootd.model.deployment import DeploymentId
from bootd.model.errors import BootPartitionFullError, InvalidBootEntryError, NoSpaceError
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

DEFAULT_PATTERN: Final = f"{PREFIX}*"
_ENTRY_MODE: Final = 0o644
_TYPE_1: Final = b"type1\n"
_SERIAL: Final = re.compile(rf"{PREFIX}0*([0-9]{{1,9}})(?![0-9])", re.ASCII | re.IGNORECASE)
_READ_ATTEMPTS: Final = 3

Identity = tuple[int, DeploymentId]


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
        entries: bootd's own, highest serial first.
        damaged: bootd's by name, but unusable.
        foreign: names of everybody else's.
    """

    entries: tuple[BootEntry, ...]
    damaged: tuple[DamagedEntry, ...]
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
    """
    files: list[tuple[str, bytes]] = []
    for _ in range(_READ_ATTEMPTS):
        paths = entry_files(sysroot)
        files = [(path.name, data) for path in paths if (data := read_text(path)) is not None]
        if len(files) == len(paths):
            break
        # One was renamed while we read: its new name is there now.
    return _sort_out(files)


def boots_next(sysroot: Sysroot) -> str | None:
    """Return the file name of what systemd-boot starts next, be it anybody's, or None.

    EFI variables by which a person overrides the order are not looked at.
    """
    files = [(path.name, read_text(path)) for path in entry_files(sysroot)]
    entries = [loader_entry(name, data) for name, data in files if data is not None]
    configuration = read_text(loader_configuration(sysroot)) or b""
    found = default_entry(entries, _default_pattern(configuration))
    return None if found is None else found.file_name


def next_serial(sysroot: Sysroot) -> int:
    """Return a serial that sorts before every entry there is, damaged ones included.

    Raises:
        InvalidBootEntryError: there is no higher serial.
    """
    matches = (_SERIAL.match(path.name) for path in entry_files(sysroot))
    found = 1 + max((int(match[1]) for match in matches if match), default=0)
    if found > MAX_SERIAL:
        raise InvalidBootEntryError(f"an entry has the serial {found - 1}, the last there is")
    return found


def prepare_loader(sysroot: Sysroot) -> None:
    """Make the loader prefer bootd's entries to foreign ones; lines of others stay.

    Writes ``default bootd-*`` to loader.conf(5), and the marker ``entries.srel`` where there is
    none; nothing where both are right.

    Raises:
        BootPartitionFullError: there is no room.
        WriteFailedError: the kernel refused.
    """
    with _boot_partition_errors():
        folder = entries_folder(sysroot)
        if not folder.is_dir():
            sysroot.disk.make_directory(folder, 0o755)
            # An entry is no more durable than the names of the folders it is in.
            sysroot.disk.sync_filesystem(sysroot.boot)
        marker = entries_marker(sysroot)
        if not read_text(marker):
            _put(sysroot, marker, _TYPE_1)
        path = loader_configuration(sysroot)
        before = read_text(path) or b""
        after = with_default(before)
        if after != before:
            _put(sysroot, path, after)


def commit_entry(sysroot: Sysroot, entry: BootEntry) -> str:
    """Make a deployment bootable: the commit point.

    Its kernel must be installed. Before the rename in here the machine boots what it booted before;
    after it, this entry.

    Returns:
        The file name.

    Raises:
        InvalidBootEntryError: the serial is taken by another entry, a file the entry names is not
            on ``$BOOT``, or the entry cannot be written as it is.
        InvalidKernelArgumentsError: the kernel would not take the arguments.
        BootPartitionFullError: there is no room.
        WriteFailedError: the kernel refused.
    """
    data = render_entry(entry)
    for path in (entry.linux, *entry.initrds):
        if not (sysroot.boot / path.lstrip("/")).is_file():
            raise InvalidBootEntryError(f"{entry.file_name} names {path}, which is not there")
    names = _own_names(sysroot)
    for name, (serial, deployment) in names.items():
        if serial == entry.serial and deployment != entry.deployment:
            raise InvalidBootEntryError(f"serial {serial} is taken by {name}")
    prepare_loader(sysroot)
    with _boot_partition_errors():
        _discard_leftovers(sysroot)
        _put(sysroot, entries_folder(sysroot) / entry.file_name, data)
    _remove_twins(sysroot, entry.file_name)
    return entry.file_name


def bless_entry(sysroot: Sysroot, entry: BootEntry) -> BootEntry:
    """Take the counter off an entry: its deployment is good. A good one stays as it is.

    Raises:
        InvalidBootEntryError: it is gone.
        WriteFailedError: the kernel refused.
    """
    return _rename(sysroot, replace(entry, tries_left=None, tries_done=0))


def return_try(sysroot: Sysroot, entry: BootEntry) -> BootEntry:
    """Grant a counted entry one more boot; the boots that were tried stay counted.

    Raises:
        InvalidBootEntryError: it is gone.
        WriteFailedError: the kernel refused.
    """
    assert entry.tries_left is not None
    return _rename(sysroot, replace(entry, tries_left=entry.tries_left + 1))


def mark_entry_bad(sysroot: Sysroot, entry: BootEntry) -> BootEntry:
    """Put an entry behind all that are not bad: the loader starts it only if nothing else is left.

    Raises:
        InvalidBootEntryError: it is gone.
        WriteFailedError: the kernel refused.
    """
    return _rename(sysroot, replace(entry, tries_left=0))


def remove_entry(sysroot: Sysroot, entry: BootEntry) -> None:
    """Remove an entry under whatever counter it stands, durably; a missing one is fine."""
    for name in _names_of(sysroot, entry):
        sysroot.disk.remove_file(entries_folder(sysroot) / name)


def heal_entries(sysroot: Sysroot) -> list[str]:
    """Remove stale second names and a cut-off write's leftovers; return the names removed."""
    removed: list[str] = []
    names = _own_names(sysroot)
    for identity in sorted(set(names.values())):
        _, *stale = _by_age(name for name, found in names.items() if found == identity)
        for name in stale:
            _log.debug("removing %s, a stale name of entry %s", name, identity)
            sysroot.disk.remove_file(entries_folder(sysroot) / name)
        removed += stale
    return removed + _discard_leftovers(sysroot)


def with_default(configuration: bytes) -> bytes:
    """Return loader.conf(5) with ``default bootd-*`` as its only default, other lines as they are.

    systemd-boot takes the last ``default``, so all others have to go.
    """
    if _default_pattern(configuration) == DEFAULT_PATTERN:
        return configuration
    lines = configuration.splitlines(keepends=True)
    kept = [line for line in lines if not _is_default(line)]
    if kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"
    return b"".join(kept) + f"default {DEFAULT_PATTERN}\n".encode()


def _default_pattern(configuration: bytes) -> str | None:
    found = [line.split(maxsplit=1)[1:] for line in configuration.splitlines() if _is_default(line)]
    return found[-1][0].strip().decode(errors="replace") if found and found[-1] else None


def _is_default(line: bytes) -> bool:
    return line.split(maxsplit=1)[:1] == [b"default"]


def _sort_out(files: list[tuple[str, bytes]]) -> EntryListing:
    found: dict[Identity, BootEntry] = {}
    damaged: list[DamagedEntry] = []
    own = [(name, data) for name, data in files if is_own_name(name)]
    for name, data in own:
        try:
            entry = parse_entry(name, data)
        except InvalidBootEntryError as error:
            damaged.append(DamagedEntry(name, _deployment_of(name), error.message))
            continue
        identity = entry.serial, entry.deployment
        twin = found.get(identity)
        if twin is None or _by_age([entry.file_name, twin.file_name])[0] == entry.file_name:
            found[identity] = entry
    return EntryListing(
        entries=tuple(found[identity] for identity in sorted(found, reverse=True)),
        damaged=tuple(damaged),
        foreign=tuple(name for name, _ in files if not is_own_name(name)),
    )


def _own_names(sysroot: Sysroot) -> dict[str, Identity]:
    found = {}
    for path in entry_files(sysroot):
        if is_own_name(path.name):
            try:
                serial, deployment, _, _ = parse_name(path.name)
            except InvalidBootEntryError:
                continue
            found[path.name] = serial, deployment
    return found


def _names_of(sysroot: Sysroot, entry: BootEntry) -> list[str]:
    """Return the names an entry stands under, the true one first."""
    identity = entry.serial, entry.deployment
    names = _own_names(sysroot)
    return _by_age(name for name, found in names.items() if found == identity)


def _by_age(names: Iterable[str]) -> list[str]:
    """Sort names of one entry, the one latest in its life first."""

    def tries_left(name: str) -> int:
        left = parse_name(name)[2]
        return -1 if left is None else left

    return sorted(names, key=tries_left)


def _deployment_of(name: str) -> DeploymentId | None:
    try:
        return parse_name(name)[1]
    except InvalidBootEntryError:
        return None


def _rename(sysroot: Sysroot, target: BootEntry) -> BootEntry:
    names = _names_of(sysroot, target)
    if not names:
        raise InvalidBootEntryError(
            f"the boot entry {target.plain_name} is gone",
            hint="'bootctl-py status' shows the rest.",
        )
    if target.tries_left is not None:
        # The loader may have counted since the caller read the entry.
        target = replace(target, tries_done=parse_name(names[0])[3])
    folder = entries_folder(sysroot)
    if names[0] != target.file_name:
        _copy(sysroot, folder / names[0], folder / target.file_name)
    for name in names:
        if name != target.file_name:
            sysroot.disk.remove_file(folder / name)
    return target


def _copy(sysroot: Sysroot, source: Path, target: Path) -> None:
    try:
        sysroot.disk.copy_file(source, target, _ENTRY_MODE)
    except NoSpaceError:
        # A machine that is well must not fall back because somebody filled its $BOOT.
        sysroot.disk.rename_file(source, target)
    sysroot.disk.sync_filesystem(sysroot.boot)


def _put(sysroot: Sysroot, path: Path, data: bytes) -> None:
    sysroot.disk.replace_file(path, data, _ENTRY_MODE)
    sysroot.disk.sync_filesystem(sysroot.boot)


def _remove_twins(sysroot: Sysroot, name: str) -> None:
    identity = parse_name(name)[:2]
    for other, found in _own_names(sysroot).items():
        if found == identity and other != name:
            sysroot.disk.remove_file(entries_folder(sysroot) / other)


def _discard_leftovers(sysroot: Sysroot) -> list[str]:
    paths = leftovers(entries_folder(sysroot))
    for path in paths:
        sysroot.disk.remove_file(path)
    return [path.name for path in paths]


@contextmanager
def _boot_partition_errors() -> Iterator[None]:
    try:
        yield
    except NoSpaceError as error:
        raise BootPartitionFullError(error.message) from error
