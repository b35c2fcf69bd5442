"""Folders and files below ``/etc``, opened one name at a time through descriptors of folders.

No symbolic link is followed, wherever one is planted. A name that stopped being what it was a
moment ago counts as gone.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bootd.durable import storage_errors
from bootd.model.etc.report import escape

CHUNK: Final = 1 << 20
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
VANISHED: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENXIO, errno.EINVAL}
)
"""What the kernel says when a name stopped being what it was a moment ago."""


class errors_at:  # noqa: N801 - reads as `storage_errors`
    """Turn an `OSError` into bootd's own, as `storage_errors`; the name is only made when needed.

    A generator with `contextmanager` would cost more than what is done in it, file by file.

    Raises:
        NoSpaceError: the disk is full.
        WriteFailedError: anything else the kernel refused.
    """

    __slots__ = ("_action", "_folder", "_path")

    def __init__(self, action: str, folder: Path, path: bytes) -> None:
        self._action = action
        self._folder = folder
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            with storage_errors(self._action, self._folder / escape(self._path)):
                raise error


@contextmanager
def opened_folder(path: Path) -> Iterator[int]:
    """Open a folder by its path, which must be no symbolic link itself.

    Raises:
        WriteFailedError: there is none, or the kernel refused.
    """
    with storage_errors("read", path):
        descriptor = os.open(path, _OPEN_FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_folder(name: bytes, parent: int) -> int | None:
    """Open a folder inside an open one; None where there is none, or only a symbolic link."""
    return _open(name, parent, _OPEN_FOLDER)


def open_file(name: bytes, parent: int) -> int | None:
    """Open a regular file inside an open folder to read; None where there is none."""
    descriptor = _open(name, parent, _OPEN_FILE)
    if descriptor is not None and not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return descriptor


def open_parent(root: int, path: bytes) -> int | None:
    """Open the folder that holds `path`, one name at a time; None where a name is no folder."""
    current = os.dup(root)
    for name in path.split(b"/")[:-1]:
        following = open_folder(name, current)
        os.close(current)
        if following is None:
            return None
        current = following
    return current


class closing:  # noqa: N801 - as that of contextlib
    """Close a descriptor at the end, if there is one."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> int | None:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def chunks_of(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield the next `size` bytes of a file in pieces, or what there is of them."""
    while size > 0 and (data := os.read(descriptor, min(size, CHUNK))):
        size -= len(data)
        yield data


def _open(name: bytes, parent: int, flags: int) -> int | None:
    try:
        return os.open(name, flags, dir_fd=parent)
    except OSError as error:
        if error.errno in VANISHED:
            return None
        raise
