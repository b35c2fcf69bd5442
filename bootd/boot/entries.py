"""Changes of the boot entries on ``$BOOT``: commit, bless, give a try back, remove.

Invariants: an entry of another system, or of another installation of bootd, is never touched; an
entry is whole and durable under a new name before its old name goes, so at every cut the loader
finds a whole entry; only `commit_entry` makes something new bootable, and the sync after its rename
is the commit point of an upgrade (docs/architecture.md, "What is written, and in which order").

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
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from bootd.boot.entry import PREFIX, BootEntry, parse_name, render_entry
from bootd.boot.listing import (
    by_age,
    default_pattern,
    is_default,
    list_entries,
    own_names,
    ownership,
)
from bootd.boot.mirrors import mirrors_first
from bootd.boot.places import (
    entries_folder,
    entries_marker,
    kernel_images,
    leftovers,
    loader_configuration,
    read_text,
)
from bootd.durable import TEMPORARY_PREFIX
from bootd.model.errors import BootPartitionFullError, InvalidBootEntryError, NoSpaceError
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

DEFAULT_PATTERN: Final = f"{PREFIX}*"
_ENTRY_MODE: Final = 0o644
_TYPE_1: Final = b"type1\n"
_FOUND_BY_THE_LOADER: Final = "auto-"
_COUNTER: Final = re.compile(r"\+[0-9]+(?:-[0-9]+)?(?=\.[a-z]+\Z)", re.ASCII | re.IGNORECASE)


def prepare_loader(sysroot: Sysroot) -> None:
    """Make the loader prefer bootd's entries to foreign ones; lines of others stay.

    Writes ``default bootd-*`` to loader.conf(5), and the marker ``entries.srel`` where there is
    none; nothing where both are right. A default that is not bootd's stays while another system is
    there: then that system may be what boots next.

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
        after = with_default(before, others_in(sysroot))
        if after != before:
            _put(sysroot, path, after)


@mirrors_first
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
    names = own_names(sysroot)
    for name, (serial, deployment) in names.items():
        if serial == entry.serial and deployment != entry.deployment:
            raise InvalidBootEntryError(f"serial {serial} is taken by {name}")
    with sysroot.boot_lock():
        prepare_loader(sysroot)
        with _boot_partition_errors():
            _discard_leftovers(sysroot)
            _put(sysroot, entries_folder(sysroot) / entry.file_name, data)
        _remove_twins(sysroot, entry.file_name)
    return entry.file_name


@mirrors_first
def bless_entry(sysroot: Sysroot, entry: BootEntry) -> BootEntry:
    """Take the counter off an entry: its deployment is good. A good one stays as it is.

    Raises:
        InvalidBootEntryError: it is gone.
        WriteFailedError: the kernel refused.
    """
    with sysroot.boot_lock():
        return _rename(sysroot, replace(entry, tries_left=None, tries_done=0))


@mirrors_first
def return_try(sysroot: Sysroot, entry: BootEntry, *, uncounted: bool = False) -> BootEntry:
    """Grant a counted entry one more boot.

    Args:
        sysroot: the machine.
        entry: as it stands now.
        uncounted: the last boot was none; else it stays among those that were tried.

    Raises:
        InvalidBootEntryError: it is gone.
        WriteFailedError: the kernel refused.
    """
    assert entry.tries_left is not None
    done = entry.tries_done - 1 if uncounted else entry.tries_done
    with sysroot.boot_lock():
        return _rename(sysroot, replace(entry, tries_left=entry.tries_left + 1, tries_done=done))


@mirrors_first
def remove_entry(sysroot: Sysroot, entry: BootEntry) -> None:
    """Remove an entry under whatever counter it stands, durably; a missing one is fine."""
    with sysroot.boot_lock():
        for name in _names_of(sysroot, entry):
            sysroot.disk.remove_file(entries_folder(sysroot) / name)


def heal_entries(sysroot: Sysroot) -> list[str]:
    """Remove stale second names and a cut-off write's leftovers; return the names removed."""
    with sysroot.boot_lock():
        return _heal(sysroot)


def _heal(sysroot: Sysroot) -> list[str]:
    removed: list[str] = []
    names = own_names(sysroot)
    for identity in sorted(set(names.values())):
        _, *stale = by_age(name for name, known in names.items() if known == identity)
        for name in stale:
            _log.debug("removing %s, a stale name of entry %s", name, identity)
            sysroot.disk.remove_file(entries_folder(sysroot) / name)
        removed += stale
    return removed + _discard_leftovers(sysroot)


def with_default(configuration: bytes, others: Collection[str] = ()) -> bytes:
    """Return loader.conf(5) with ``default bootd-*`` as its only default, other lines as they are.

    systemd-boot takes the last ``default``, so all others have to go; unless that is the choice of
    another system that is there: then the configuration is returned as it is.

    Args:
        configuration: the file's content.
        others: names of what the loader can start that is not this installation's, see `others_in`.
    """
    pattern = default_pattern(configuration)
    if pattern == DEFAULT_PATTERN or (pattern is not None and _is_anothers(pattern, others)):
        return configuration
    lines = configuration.splitlines(keepends=True)
    kept = [line for line in lines if not is_default(line)]
    if kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"
    return b"".join(kept) + f"default {DEFAULT_PATTERN}\n".encode()


def others_in(sysroot: Sysroot) -> list[str]:
    """Return the names of what others have on ``$BOOT`` for the loader, entries and kernel images.

    Entries with a counter are named as they are and without it, as versions of systemd-boot differ.

    Raises:
        InvalidBootEntryError, WriteFailedError, DamagedRecordError: see `list_entries`.
    """
    names = [*list_entries(sysroot).foreign, *kernel_images(sysroot)]
    return names + [_COUNTER.sub("", name) for name in names]


def _is_anothers(pattern: str, others: Collection[str]) -> bool:
    """Tell whether a default is somebody else's choice, whose system is there.

    It need not name an entry that is there now: a system may be without one between two of its
    kernels, and what ``@saved`` stands for may be anybody's.
    """
    if pattern.lower().startswith(PREFIX):
        return any(fnmatchcase(name.lower(), pattern.lower()) for name in others)
    # What the loader finds by itself, such as auto-windows, is in no list.
    return bool(others) or pattern.lower().startswith(_FOUND_BY_THE_LOADER)


def _names_of(sysroot: Sysroot, entry: BootEntry) -> list[str]:
    """Return the names an entry stands under, the true one first."""
    identity = entry.serial, entry.deployment
    names = own_names(sysroot)
    return by_age(name for name, known in names.items() if known == identity)


def _rename(sysroot: Sysroot, target: BootEntry) -> BootEntry:
    names = _names_of(sysroot, target)
    if not names:
        raise InvalidBootEntryError(
            f"the boot entry {target.plain_name} is gone",
            hint="'bootctl-py status' shows the rest.",
        )
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
    for other, known in own_names(sysroot).items():
        if known == identity and other != name:
            sysroot.disk.remove_file(entries_folder(sysroot) / other)


def _discard_leftovers(sysroot: Sysroot) -> list[str]:
    is_own = ownership(sysroot)
    paths = [
        path
        for path in leftovers(entries_folder(sysroot))
        if path.name.startswith(TEMPORARY_PREFIX) or is_own(path.name, b"")
    ]
    for path in paths:
        sysroot.disk.remove_file(path)
    return [path.name for path in paths]


@contextmanager
def _boot_partition_errors() -> Iterator[None]:
    try:
        yield
    except NoSpaceError as error:
        raise BootPartitionFullError(error.message) from error
