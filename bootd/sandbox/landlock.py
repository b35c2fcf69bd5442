"""Where a process may still write, by Landlock: beneath some folders, or nowhere at all.

What the running kernel's version does not know cannot be forbidden, so each asks for what there is.
Source: landlock(7) and linux/landlock.h.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from struct import Struct
from typing import Final

from bootd.sandbox import kernel

_ATTRIBUTES: Final = Struct("=QQQ")
"""Rights to files, to the network, and what is scoped; older versions know the first, or two."""
_PATH_BENEATH: Final = Struct("=Qi")
_READ: Final = 0b1101
"""EXECUTE, READ_FILE and READ_DIR."""
_ALL_OF_FIRST: Final = (1 << 13) - 1
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_IOCTL_DEVICE: Final = 1 << 15
_MAKE_ODD: Final = (1 << 6) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12)
"""MAKE_CHAR, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK and MAKE_SYM."""
_NETWORK: Final = 0b11
"""BIND_TCP and CONNECT_TCP."""
_SCOPED: Final = 0b11
"""Abstract Unix sockets and signals: both reach only processes with the same restrictions."""
LEAST_FOR_WRITERS: Final = 2
"""The first version that lets files be moved from folder to folder."""
_SINCE_TRUNCATE: Final = 3
_SINCE_NETWORK: Final = 4
_SINCE_IOCTL_DEVICE: Final = 5
_SINCE_SCOPED: Final = 6


def allow_nothing() -> None:
    """Let this process open, make and remove no file, and reach nobody by TCP or a signal.

    Raises:
        OSError: the kernel has no Landlock.
    """
    version = kernel.landlock_version()
    parts = [_handled(version)]
    if version >= _SINCE_NETWORK:
        parts.append(_NETWORK)
    if version >= _SINCE_SCOPED:
        parts.append(_SCOPED)
    _restrict(parts, ())


def write_only_beneath(folders: Iterable[Path]) -> None:
    """Let this process write, make and remove files beneath some folders only; it reads on.

    Raises:
        OSError: the kernel has no Landlock, or one that forbids to rename from folder to folder.
    """
    version = kernel.landlock_version()
    if version < LEAST_FOR_WRITERS:
        raise OSError(f"Landlock {version} cannot tell where files may be moved to")
    _restrict([_handled(version) & ~_READ], folders)


def _handled(version: int) -> int:
    handled = _ALL_OF_FIRST
    if version >= LEAST_FOR_WRITERS:
        handled |= _REFER
    if version >= _SINCE_TRUNCATE:
        handled |= _TRUNCATE
    if version >= _SINCE_IOCTL_DEVICE:
        handled |= _IOCTL_DEVICE
    return handled


def _restrict(parts: list[int], folders: Iterable[Path]) -> None:
    size = len(parts) * 8
    attributes = _ATTRIBUTES.pack(*parts, *[0] * (3 - len(parts)))[:size]
    ruleset = kernel.create_ruleset(attributes)
    try:
        for folder in folders:
            opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                allowed = parts[0] & ~_MAKE_ODD
                kernel.add_path_rule(ruleset, _PATH_BENEATH.pack(allowed, opened))
            finally:
                os.close(opened)
        kernel.restrict_self(ruleset)
    finally:
        os.close(ruleset)
