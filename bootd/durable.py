"""The one gateway to durable changes: nothing else in bootd renames, removes or syncs.

Two kinds of write, and one order:

* A small record is replaced: temporary name in the same folder, write, fsync the file, rename,
  fsync the folder. At any cut a reader finds the old record or the new one.
* Bulk data (objects, trees) is written without a sync and made durable by one ``syncfs`` before the
  name that makes it reachable appears. Until then nobody may rely on it.

A name goes before what it stood for: the old content is kept open until the folder is synced.
Otherwise VFAT frees its clusters while a cut may still keep the name, of a file that none can read.
For the same reason it learns first which clusters are taken, then what name they have: any fsync
writes the former (Linux, fs/fat/file.c, fat_file_fsync), that of the root folder no name below.

Every primitive of `Disk` is one step at which the power may go; tests subclass `Disk` to cut there.
Temporary names start with `TEMPORARY_PREFIX`; whoever finds one after a crash may remove it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from bootd.file_flags import FIXED, change_flags
from bootd.model.errors import NoSpaceError, WriteFailedError

TEMPORARY_PREFIX: Final = ".new-"
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
"""Both of linux/fcntl.h and linux/fs.h."""
_MSDOS_MAGIC: Final = 0x4D44
"""MSDOS_SUPER_MAGIC of linux/magic.h, what statfs(2) tells of VFAT."""
_STATFS_LONGS: Final = 32
"""More than a struct statfs has, of which the first is the type."""
_COPY_CHUNK: Final = 1 << 20
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def storage_errors(action: str, path: Path | str) -> Iterator[None]:
    """Turn an `OSError` into bootd's own, naming what was tried and where.

    Raises:
        NoSpaceError: the disk or the quota is full.
        WriteFailedError: anything else the kernel refused.
    """
    try:
        yield
    except OSError as error:
        kind = NoSpaceError if error.errno in _FULL else WriteFailedError
        raise kind(f"cannot {action} {path}: {os.strerror(error.errno or 0)}") from error


class Disk:
    """Durable changes as steps; the real one does each at once."""

    def make_directory(self, path: Path, mode: int = 0o700) -> None:
        """Make a folder and its missing parents; an existing one is left as it is."""
        with storage_errors("make the folder", path):
            path.mkdir(mode=mode, parents=True, exist_ok=True)

    def replace_file(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        """Put a record in place, durably: afterwards it is on disk, before it is the old one.

        Raises:
            NoSpaceError: no room; the old record stands.
            WriteFailedError: the kernel refused; the old record stands.
        """
        self.replace_file_from(path, [data], mode)

    def replace_file_from(self, path: Path, chunks: Iterable[bytes], mode: int = 0o600) -> None:
        """Like `replace_file`, for content that comes in pieces."""
        temporary = temporary_name(path)
        with _kept_open(path):
            try:
                self._write(temporary, chunks, mode, sync=True)
                self._rename(temporary, path)
            except BaseException:
                self._abandon(temporary)
                raise
            self._sync_directory(path.parent)

    def replace_kept(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        """Replace a file whose name must stand for a whole one at every cut, on VFAT too.

        There the name of a file that is replaced leads to the old content until the new file's
        inode is written, and only a sync of the file system does that (Linux, fs/fat/namei_vfat.c,
        vfat_rename). So the old content is kept open until then.

        Raises:
            NoSpaceError, WriteFailedError: see `replace_file`.
        """
        temporary = temporary_name(path)
        with _kept_open(path):
            try:
                self._write(temporary, [data], mode, sync=True)
                self._rename(temporary, path)
            except BaseException:
                self._abandon(temporary)
                raise
            self.sync_filesystem(path.parent)

    def copy_file(self, source: Path, target: Path, mode: int = 0o600) -> None:
        """Copy a file to a new or existing name, durably."""
        with storage_errors("read", source), source.open("rb") as stream:
            self.replace_file_from(target, _pieces(stream), mode)

    def add_file(self, path: Path, data: bytes | memoryview, mode: int = 0o400) -> None:
        """Write bulk data under its final name, whole or not at all, but not yet durable."""
        temporary = temporary_name(path)
        try:
            self._write(temporary, (data,), mode, sync=False)
            self._rename(temporary, path)
        except BaseException:
            self._abandon(temporary)
            raise

    def add_small_file(self, path: str, data: bytes, mode: int = 0o400) -> None:
        """Like `add_file`, for the tens of thousands of small files of an import.

        It takes a string and makes the system calls itself, which saves a tenth of an import's
        time.
        """
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/{TEMPORARY_PREFIX}{os.getpid()}-{name}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(temporary, flags, mode)
            try:
                written = os.write(descriptor, data)
                while written < len(data):
                    written += os.write(descriptor, memoryview(data)[written:])
            finally:
                os.close(descriptor)
            os.rename(temporary, path)  # noqa: PTH104 - see above
        except BaseException as error:
            self._abandon(Path(temporary))
            with storage_errors("write", Path(path)):
                raise error from None

    def write_temporary(self, temporary: Path, chunks: Iterable[bytes], mode: int = 0o400) -> None:
        """Write bulk data that comes in pieces under a temporary name, for `adopt_file`."""
        try:
            self._write(temporary, chunks, mode, sync=False)
        except BaseException:
            self._abandon(temporary)
            raise

    def adopt_file(self, temporary: Path, path: Path) -> None:
        """Give bulk data that the caller wrote under a temporary name its final one."""
        self._rename(temporary, path)

    def link_file(self, source: Path, target: Path) -> None:
        """Give a file a second name; not yet durable."""
        with storage_errors("link", target):
            os.link(source, target)

    def rename_file(self, source: Path, target: Path) -> None:
        """Rename within one folder, durably."""
        with _kept_open(target):
            self._rename(source, target)
            self._sync_directory(target.parent)

    def publish_directory(self, temporary: Path, target: Path) -> None:
        """Make a folder tree durable, then give it the name by which it is found.

        `target` must not exist. The order is syncfs, rename, fsync of the parent.
        """
        self.sync_filesystem(temporary)
        self._rename(temporary, target)
        self._sync_directory(target.parent)

    def exchange_directories(self, temporary: Path, target: Path) -> None:
        """Make a folder tree durable, then let it and an existing one change names at once.

        At any cut there is a whole tree at `target`, the old one or the new one. The order is
        syncfs, exchange (renameat2(2)), fsync of the parent, which both have in common.
        """
        self.sync_filesystem(temporary)
        self._exchange(temporary, target)
        self._sync_directory(target.parent)

    def move_in(self, source: Path, folder: int, target: Path) -> None:
        """Put a finished file or folder at a place in an open folder, durably.

        A file replaces a file that is there. The folder is a descriptor, so that no symbolic link
        that somebody puts on the way leads elsewhere; `target` only names the place.
        """
        self._move_in(source, folder, target)
        self._sync_open(folder, target.parent)

    def move_out(self, folder: int, source: Path, target: Path) -> None:
        """Take what stands at a place of an open folder away to another name, durably."""
        self._move_out(folder, source, target)
        self._sync_open(folder, source.parent)

    def remove_file(self, path: Path) -> None:
        """Remove a name, durably; a missing one is fine."""
        with _kept_open(path):
            self._unlink(path)
            self._sync_directory(path.parent)

    def discard_file(self, path: Path) -> None:
        """Remove a name that nothing relies on; not synced, and not for VFAT; it may be missing."""
        self._unlink(path)

    def discard_small_files(self, paths: Iterable[str]) -> None:
        """Like `discard_file`, for tens of thousands of names."""
        for path in paths:
            try:
                os.unlink(path)  # noqa: PTH108 - see `add_small_file`
            except FileNotFoundError:
                continue
            except OSError as error:
                with storage_errors("remove", Path(path)):
                    raise error from None

    def discard_directory(self, path: Path) -> None:
        """Remove an empty folder that nothing relies on, such as a mount point; not synced."""
        with storage_errors("remove", path):
            path.rmdir()

    def remove_tree(self, path: Path) -> None:
        """Remove a folder tree: its name goes first, durably, then what was in it; not for VFAT."""
        if not path.is_symlink() and not path.exists():
            return
        doomed = path.parent / f"{TEMPORARY_PREFIX}gone-{path.name}"
        if not path.name.startswith(TEMPORARY_PREFIX):
            if doomed.exists():
                self._remove_tree(doomed)
            self._rename(path, doomed)
            self._sync_directory(path.parent)
            path = doomed
        self._remove_tree(path)

    def remove_empty_directory(self, path: Path) -> None:
        """Remove a folder with nothing in it, durably."""
        with _kept_open(path):
            self._remove_tree(path)
            self._sync_directory(path.parent)

    def sync_filesystem(self, path: Path) -> None:
        """Make all that was written to the file system of `path` durable (syncfs(2))."""
        with storage_errors("sync the file system of", path):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _LIBC.syncfs(descriptor) != 0:
                    raise OSError(ctypes.get_errno(), "syncfs")
                if _is_vfat(descriptor):
                    # VFAT leaves what it wrote in the disk's cache then; any fsync has that emptied
                    # (Linux, fs/fat/inode.c, no sync_fs; fs/fat/file.c, fat_file_fsync).
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def overwrite(self, device: int, path: Path, place: int, piece: bytes | memoryview) -> None:
        """Write over what an open block device holds; `sync_device` makes that durable.

        Who calls it knows why it is harmless to be cut before, in or after it.
        """
        with storage_errors("write", path):
            if os.pwrite(device, piece, place) != len(piece):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync_device(self, path: Path) -> None:
        """Make what was written to a block device or a disk image durable."""
        _fsync(path, os.O_RDONLY | os.O_CLOEXEC)

    def _write(
        self, path: Path, chunks: Iterable[bytes | memoryview], mode: int, *, sync: bool
    ) -> None:
        with storage_errors("write", path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, mode)
            with open(descriptor, "wb", buffering=0) as stream:  # noqa: PTH123 - a descriptor
                for chunk in chunks:
                    _write_all(stream, chunk)
                if sync:
                    if _is_vfat(descriptor):
                        self._sync_directory(_file_system_root(path.parent))
                    os.fsync(descriptor)

    def _abandon(self, temporary: Path) -> None:
        # What stopped the write may stop this too; the first error is the one to report.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)

    def _rename(self, source: Path, target: Path) -> None:
        with storage_errors("rename to", target):
            source.rename(target)

    def _exchange(self, one: Path, other: Path) -> None:
        with storage_errors("exchange names with", other):
            names = os.fsencode(one), os.fsencode(other)
            if _LIBC.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) != 0:
                raise OSError(ctypes.get_errno(), "renameat2")

    def _move_in(self, source: Path, folder: int, target: Path) -> None:
        with storage_errors("rename to", target):
            os.rename(source, target.name, dst_dir_fd=folder)

    def _move_out(self, folder: int, source: Path, target: Path) -> None:
        with storage_errors("rename to", target):
            os.rename(source.name, target, src_dir_fd=folder)

    def _sync_open(self, folder: int, path: Path) -> None:
        with storage_errors("sync", path):
            os.fsync(folder)

    def _unlink(self, path: Path) -> None:
        with storage_errors("remove", path):
            path.unlink(missing_ok=True)

    def _remove_tree(self, path: Path) -> None:
        with storage_errors("remove", path):
            try:
                shutil.rmtree(path)
            except PermissionError:
                # An administrator made something in an old /etc immutable (chattr(1)).
                _make_mutable(path)
                shutil.rmtree(path)

    def _sync_directory(self, path: Path) -> None:
        _fsync(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def temporary_name(path: Path) -> Path:
    """Return a name beside `path` that no reader takes for a finished one; unique per process."""
    return path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")


@contextmanager
def _kept_open(path: Path) -> Iterator[None]:
    """Keep what stands at a path from being freed, whatever becomes of its name meanwhile."""
    descriptor = -1
    with storage_errors("open", path), suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _fsync(path: Path, flags: int) -> None:
    with storage_errors("sync", path):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_vfat(descriptor: int) -> bool:
    facts = (ctypes.c_long * _STATFS_LONGS)()
    if _LIBC.fstatfs(descriptor, facts) != 0:
        raise OSError(ctypes.get_errno(), "fstatfs")
    return facts[0] == _MSDOS_MAGIC


def _file_system_root(folder: Path) -> Path:
    """Return the topmost folder above one that is on the same file system."""
    device = folder.stat().st_dev
    while folder != folder.parent and folder.parent.stat().st_dev == device:
        folder = folder.parent
    return folder


def _make_mutable(tree: Path) -> None:
    """Take the flags of chattr(1) away that keep a tree from being removed."""
    for folder, _, files in os.walk(tree):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with suppress(OSError):
                descriptor = os.open(path, flags)
                try:
                    change_flags(descriptor, remove=FIXED)
                finally:
                    os.close(descriptor)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_COPY_CHUNK):
        yield chunk


def _write_all(stream: BinaryIO, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]
