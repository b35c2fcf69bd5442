"""Whether ``$BOOT`` can be written to, asked by writing, and how a read-only one is mended.

An administrator, or the kernel after an error, may have made it read-only: the mount, the file
system or the device. Only the first two can be mended from here, by a remount.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from bootd.boot.devices.mounts import Mount, mount_of, mounts
from bootd.durable import storage_errors, temporary_name
from bootd.model.errors import (
    BootPartitionFullError,
    BootPartitionReadOnlyError,
    NoSpaceError,
    ProcessFailedError,
    WriteFailedError,
)
from bootd.process import run
from bootd.sysroot import Sysroot

_SMALL: Final = 64 << 10
"""Bytes that are enough for the file that is written to try it, in clusters of any size."""


def is_read_only(sysroot: Sysroot) -> bool:
    """Tell whether the mount of ``$BOOT``, or its file system, is read-only; not if it is missing.

    Raises:
        WriteFailedError: that cannot be asked.
    """
    with storage_errors("look at", sysroot.boot):
        try:
            return bool(os.statvfs(sysroot.boot).f_flag & os.ST_RDONLY)
        except FileNotFoundError:
            return False


def check_writable(sysroot: Sysroot) -> None:
    """Write a file to ``$BOOT``, durably, and remove it again.

    How many bytes are free is asked elsewhere, and may be mended there.

    Raises:
        BootPartitionReadOnlyError: it is read-only, or its device does not take writes.
        BootPartitionFullError: bytes are free, and yet it takes no new file.
    """
    if is_read_only(sysroot):
        raise _read_only(sysroot, "it is mounted so")
    probe = temporary_name(sysroot.boot / "probe")
    try:
        sysroot.disk.replace_file(probe, b"bootd tries to write\n", 0o644)
        sysroot.disk.remove_file(probe)
    except NoSpaceError as error:
        room = os.statvfs(sysroot.boot)
        if room.f_bavail * room.f_frsize >= _SMALL:
            raise BootPartitionFullError(f"{error.message}; it takes no more files") from error
    except WriteFailedError as error:
        raise _read_only(sysroot, error.message) from error


def make_writable(sysroot: Sysroot) -> None:
    """Remount ``$BOOT`` for writing if it is read-only.

    Raises:
        BootPartitionReadOnlyError: it is, and stays so.
    """
    if not is_read_only(sysroot):
        return
    mount = _own_mount(sysroot)
    if mount is None:
        raise _read_only(sysroot, "it is a folder of a file system that is")
    try:
        run(["mount", "--options", "remount,rw", mount.point])
    except ProcessFailedError as error:
        raise _read_only(sysroot, f"it could not be remounted: {error.message}") from error
    if is_read_only(sysroot):
        raise _read_only(sysroot, "a remount did not change that")


def _own_mount(sysroot: Sysroot) -> Mount | None:
    """Return the mount at ``$BOOT``; None where it is a folder of a larger file system."""
    mount = mount_of(sysroot.boot)
    return mount if mount is not None and mount.point == sysroot.boot.resolve() else None


def _read_only(sysroot: Sysroot, why: str) -> BootPartitionReadOnlyError:
    name = sysroot.partition.name or str(sysroot.boot)
    return BootPartitionReadOnlyError(
        f"the boot partition {name} is read-only: {why}",
        hint=f"'mount -o remount,rw {_mounted_at(sysroot)}' makes it writable, unless the disk "
        "failed: the kernel's messages say so (journalctl --dmesg).",
    )


def _mounted_at(sysroot: Sysroot) -> Path:
    """Return where people know ``$BOOT`` to be mounted."""
    own = _own_mount(sysroot)
    if own is None:
        return sysroot.boot
    others = (
        one.point
        for one in mounts()
        if one.number == own.number and not one.point.is_relative_to(sysroot.run)
    )
    return next(others, own.point)
