"""systemd-boot on an EFI system partition, taken from an image.

It goes where ``bootctl install`` puts it: under its own name, and under the name that firmware
starts from a disk that no EFI variable points to (UEFI 2.10, section 3.5.1.1, "Removable Media Boot
Behavior"). A name that somebody else's program has stays with it: it may be the shim that another
system starts by. If that is the loader's own name, bootd's goes into a folder of bootd's.
systemd-boot finds its configuration and entries from the root of the partition it was started from,
wherever on it it lies (systemd, src/boot/boot.c, ``config_load_all_entries``).

Each name stands for a whole loader at every moment, the old or the new one: see
`Disk.replace_kept`. Case does not matter on VFAT, so a name is looked for in any spelling.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.boot.loader.file import LoaderFile, look_at, read_loader
from bootd.boot.loader.order import compare_versions
from bootd.boot.places import leftovers
from bootd.durable import storage_errors
from bootd.model.boot.loader import MAX_REMEMBERED, LoaderRecord, WrittenLoader
from bootd.model.errors import BootPartitionFullError, NoBootLoaderError, NoSpaceError
from bootd.model.tree import Directory, RegularFile, lookup
from bootd.sysroot import Sysroot

LOADER_FOLDER: Final = "/usr/lib/systemd/boot/efi"
EFI_NAMES: Final = {"x86_64": "x64", "aarch64": "aa64", "riscv64": "riscv64"}
"""What UEFI calls an architecture in file names, by the machine name of uname(2)."""
_SUFFIXES: Final = (".efi.signed", ".efi")
"""A loader that Secure Boot takes is preferred."""
_MODE: Final = 0o644
_RESERVE: Final = 64 << 10
"""Bytes left on ``$BOOT`` for folders and what the file system needs itself."""


@dataclass(frozen=True, slots=True)
class LoaderPlaces:
    """Where bootd's loader goes, and what is in the way of other places.

    Attributes:
        names: paths from the root of ``$BOOT``; the first is the one that firmware is to start.
        others: programs of others that stay, each in a sentence.
    """

    names: tuple[str, ...]
    others: tuple[str, ...]


def find_loader(tree: Directory, architecture: str) -> RegularFile:
    """Return the systemd-boot of an image.

    Args:
        tree: the image's root.
        architecture: as uname(2) calls it.

    Raises:
        NoBootLoaderError: there is none, or none for this architecture.
    """
    name = EFI_NAMES.get(architecture)
    if name is None:
        raise NoBootLoaderError(f"bootd installs no boot loader for {architecture}")
    paths = [f"{LOADER_FOLDER}/systemd-boot{name}{suffix}" for suffix in _SUFFIXES]
    for path in paths:
        node = lookup(tree, path.encode())
        if isinstance(node, RegularFile):
            return node
    raise NoBootLoaderError(f"the image has no {paths[-1]}")


def usual_names(architecture: str) -> tuple[str, str]:
    """Return the loader's own path on an EFI system partition, and the one for removable media."""
    name = EFI_NAMES[architecture]
    return f"EFI/systemd/systemd-boot{name}.efi", f"EFI/BOOT/BOOT{name.upper()}.EFI"


def choose_places(boot: Path, architecture: str, own: Collection[str]) -> LoaderPlaces:
    """Decide under which names a loader can be installed without replacing anybody else's.

    Args:
        boot: where ``$BOOT`` is mounted.
        architecture: as uname(2) calls it.
        own: SHA-256 of what is bootd's, 64 hex digits each.

    Raises:
        WriteFailedError: what is there cannot be read.
    """
    usual, removable = usual_names(architecture)
    bootds = f"EFI/bootd/{usual.rpartition('/')[2]}"
    others = []
    free = {}
    for wanted in (usual, removable, bootds):
        name = spelled(boot, wanted)
        owner = _somebody_else(boot / name, own)
        if owner is None:
            free[wanted] = name
        elif wanted != bootds:
            others.append(f"{name} is {owner} of another system and stays")
    first = free.get(usual) or free.get(bootds)
    chosen = [first, free.get(removable)]
    return LoaderPlaces(tuple(name for name in chosen if name is not None), tuple(others))


def spelled(boot: Path, name: str) -> str:
    """Return a path from the root of ``$BOOT`` as it is spelled there, whatever its case."""
    spelling: list[str] = []
    for part in name.split("/"):
        try:
            present = os.listdir(boot.joinpath(*spelling))  # noqa: PTH208 - names, not paths
        except OSError:
            present = []
        same = sorted(one for one in present if one.casefold() == part.casefold())
        spelling.append(part if part in same or not same else same[0])
    return "/".join(spelling)


def install_loader(sysroot: Sysroot, data: bytes, architecture: str) -> LoaderPlaces:
    """Put a first loader on the EFI system partition that is mounted as ``$BOOT``, durably.

    Returns:
        Where it is now, and what of others was in the way; that is as it was.

    Raises:
        BootPartitionFullError: there is no room.
        DamagedRecordError: what bootd noted about an earlier one cannot be read.
        WriteFailedError: the kernel refused.
    """
    record = sysroot.read_loader()
    own = [one.sha256 for one in record.written]
    places = choose_places(sysroot.boot, architecture, own)
    put_loader(sysroot, record.model_copy(update={"names": list(places.names)}), data)
    return places


def put_loader(
    sysroot: Sysroot, record: LoaderRecord, data: bytes, names: Sequence[str] | None = None
) -> LoaderRecord:
    """Give bootd's names a loader, one after the other, durably; return the new record.

    What a name held is kept: bootd's own last loader as `previous_name`, anything else as
    `replaced_name`.

    Args:
        sysroot: the machine.
        record: what is known of bootd's loader.
        data: the loader.
        names: those of the record's names that may be written; None: all.

    Raises:
        BootPartitionFullError: there is no room; each name holds what it held, or the new one.
        WriteFailedError: the kernel refused.
    """
    boot = sysroot.boot
    new = as_written(look_at(data))
    own = {one.sha256 for one in record.written}
    allowed = record.names if names is None else names
    changed = [name for name in allowed if _content(boot / name) != data]
    kept = {}
    for name in changed:
        there = read_loader(boot / name)
        if there is not None and there[1].sha256 not in own:
            kept[spelled(boot, replaced_name(name))] = there[0]
        elif there is not None and name == record.names[0]:
            kept[spelled(boot, previous_name(name))] = there[0]
    kept = {name: content for name, content in kept.items() if _content(boot / name) != content}
    _check_space(sysroot, changed, len(data), sum(map(len, kept.values())))
    older = [one for one in record.written if one.sha256 != new.sha256]
    begun = record.model_copy(
        update={"written": [new, *older][:MAX_REMEMBERED], "complete": False, "failure": None}
    )
    if changed:
        # The record comes first: a cut leaves no loader that it does not know.
        sysroot.write_loader(begun)
    for name, content in (*kept.items(), *((name, data) for name in changed)):
        _write(sysroot, boot / name, content)
    done = begun.model_copy(update={"complete": True})
    if done != record:
        sysroot.write_loader(done)
    return done


def previous_name(name: str) -> str:
    """Return where bootd's own loader is kept that was replaced last, as a path from ``$BOOT``."""
    return f"EFI/bootd/{Path(name).stem}-previous.efi"


def replaced_name(name: str) -> str:
    """Return where anything else is kept that bootd replaced, as a path from ``$BOOT``."""
    return f"EFI/bootd/{Path(name).stem}-replaced.efi"


def as_written(file: LoaderFile) -> WrittenLoader:
    """Return what is noted of a loader."""
    return WrittenLoader(
        sha256=file.sha256,
        size=file.size,
        description=file.description
        if file.version
        else f"one without a version, {file.sha256[:12]}",
        version=file.version,
        signed=file.signed,
    )


def is_newer(offered: WrittenLoader, written: Sequence[WrittenLoader]) -> bool:
    """Tell whether a loader is to take the place of the one that was written last.

    Args:
        offered: the loader.
        written: what bootd wrote, the newest first.
    """
    installed = written[0]
    if any(one.sha256 == offered.sha256 for one in written):
        # It is the one that is installed, or one that had to make room for a newer one.
        return False
    if installed.version is None or offered.version is None:
        return True
    return compare_versions(offered.version, installed.version) >= 0


def _content(path: Path) -> bytes | None:
    there = read_loader(path)
    return None if there is None else there[0]


def _check_space(sysroot: Sysroot, changed: Iterable[str], size: int, kept: int) -> None:
    sizes = [len(_content(sysroot.boot / name) or b"") for name in changed]
    if not sizes:
        return
    with storage_errors("measure", sysroot.boot):
        room = os.statvfs(sysroot.boot)
    free = room.f_bavail * room.f_frsize
    # The new one stands beside the old one for a moment.
    needed = sum(max(0, size - old) for old in sizes) + size + kept + _RESERVE
    if needed > free:
        raise BootPartitionFullError(
            f"the boot loader needs {needed >> 10} KiB on the boot partition; "
            f"{free >> 10} KiB are free"
        )


def _write(sysroot: Sysroot, path: Path, data: bytes) -> None:
    try:
        sysroot.disk.make_directory(path.parent, 0o755)
        for leftover in leftovers(path.parent):
            sysroot.disk.remove_file(leftover)
        sysroot.disk.replace_kept(path, data, _MODE)
    except NoSpaceError as error:
        raise BootPartitionFullError(error.message) from error


def _somebody_else(path: Path, own: Collection[str]) -> str | None:
    """Return what stands at a name and is not bootd's, for people, or None."""
    if path.is_dir():
        return "a folder"
    there = read_loader(path)
    return None if there is None or there[1].sha256 in own else there[1].description
