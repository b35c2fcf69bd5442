"""What takes room on ``$BOOT``, as the file system counts it: in whole blocks, or VFAT's clusters.

Nothing here is changed, and nothing is said about whose a file is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from bootd.boot.entry import KERNEL_FOLDER
from bootd.boot.places import leftovers
from bootd.durable import storage_errors
from bootd.sysroot import Sysroot

_MAX_FILES: Final = 50_000
"""More than any boot partition has; what comes after them is counted as the rest."""
_BLOCK: Final = 512
"""What ``st_blocks`` counts in (stat(2))."""
_SYSTEMS: Final = "EFI"
"""The folder in which each system has one of its own (UEFI 2.10, section 13.3.1.3)."""


@dataclass(frozen=True, slots=True)
class Room:
    """The file system of ``$BOOT``, in bytes.

    Attributes:
        size: the whole.
        free: what anybody may still write.
        cluster: what the smallest file takes.
    """

    size: int
    free: int
    cluster: int

    def taken_by(self, length: int) -> int:
        """Return what a file of a length takes."""
        return -(-length // self.cluster) * self.cluster


@dataclass(frozen=True, slots=True)
class Holder:
    """A folder or file, and the bytes that it takes with all that is in it.

    Attributes:
        name: from the root of ``$BOOT``; a name within ``bootd`` for a folder of kernels.
        size: what it takes.
        leftovers: how much of that interrupted copies left, which the next write removes.
    """

    name: str
    size: int
    leftovers: int = 0


def measure_room(sysroot: Sysroot) -> Room:
    """Ask the file system of ``$BOOT``.

    Raises:
        WriteFailedError: it does not answer.
    """
    with storage_errors("measure", sysroot.boot):
        room = os.statvfs(sysroot.boot)
    return Room(
        size=room.f_blocks * room.f_frsize,
        free=room.f_bavail * room.f_frsize,
        cluster=max(room.f_frsize, 1),
    )


def kernel_holders(sysroot: Sysroot) -> list[Holder]:
    """Return what lies in ``$BOOT/bootd``, by name.

    Raises:
        WriteFailedError: it cannot be read.
    """
    folder = sysroot.boot / KERNEL_FOLDER
    holders = []
    for path in _children(folder):
        left = leftovers(path) if path.is_dir() and not path.is_symlink() else []
        holders.append(Holder(path.name, _taken(path), sum(map(_taken, left))))
    return holders


def other_holders(sysroot: Sysroot) -> list[Holder]:
    """Return all but ``bootd`` at the root of ``$BOOT``, and in ``EFI`` each system, largest first.

    Raises:
        WriteFailedError: it cannot be read.
    """
    holders = []
    for path in _children(sysroot.boot):
        if path.name.lower() == _SYSTEMS.lower() and path.is_dir():
            holders += [Holder(f"{path.name}/{one.name}", _taken(one)) for one in _children(path)]
        elif path.name != KERNEL_FOLDER:
            holders.append(Holder(path.name, _taken(path)))
    return sorted(holders, key=lambda one: (-one.size, one.name))


def allocated(path: Path) -> int:
    """Return the bytes that one file takes; 0 where there is none.

    Raises:
        WriteFailedError: it cannot be looked at.
    """
    with storage_errors("look at", path):
        try:
            return path.lstat().st_blocks * _BLOCK
        except FileNotFoundError:
            return 0


def _children(folder: Path) -> list[Path]:
    with storage_errors("read", folder):
        try:
            with os.scandir(folder) as entries:
                return sorted(Path(entry.path) for entry in islice(entries, _MAX_FILES))
        except FileNotFoundError:
            return []


def _taken(path: Path) -> int:
    return sum(map(allocated, islice(_all_in(path), _MAX_FILES)))


def _all_in(path: Path) -> Iterator[Path]:
    yield path
    if path.is_symlink() or not path.is_dir():
        return
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            yield Path(folder, name)
