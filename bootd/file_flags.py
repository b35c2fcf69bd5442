"""The flags of files and folders that chattr(1) sets (ioctl_iflags(2), linux/fs.h)."""

from __future__ import annotations

import fcntl
import struct
from contextlib import suppress
from typing import Final

FIXED: Final = 0x10 | 0x20
"""FS_IMMUTABLE_FL and FS_APPEND_FL: nobody writes to it, or nobody but at its end."""
CARRIED: Final = 0x8 | 0x40 | 0x80 | 0x1_0000
"""FS_SYNC_FL, FS_NODUMP_FL, FS_NOATIME_FL and FS_DIRSYNC_FL, which keep nobody from writing."""
_FLAGS: Final = struct.Struct("l")
_GET_FLAGS: Final = 2 << 30 | _FLAGS.size << 16 | ord("f") << 8 | 1
_SET_FLAGS: Final = 1 << 30 | _FLAGS.size << 16 | ord("f") << 8 | 2


def file_flags(descriptor: int) -> int:
    """Return the flags of what a descriptor stands for.

    Raises:
        OSError: its file system has none.
    """
    (flags,) = _FLAGS.unpack(fcntl.ioctl(descriptor, _GET_FLAGS, _FLAGS.pack(0)))
    return int(flags)


def change_flags(descriptor: int, *, add: int = 0, remove: int = 0) -> None:
    """Set some flags, and clear some.

    Raises:
        OSError: its file system has none, or they are not this process's to change.
    """
    now = file_flags(descriptor)
    wanted = (now | add) & ~remove
    if wanted != now:
        fcntl.ioctl(descriptor, _SET_FLAGS, _FLAGS.pack(wanted))


def carry_flags(source: int, target: int) -> None:
    """Give a file those flags of another one that keep nobody from writing, where that can be."""
    with suppress(OSError):
        flags = file_flags(source) & CARRIED
        if flags:
            change_flags(target, add=flags)
