"""Building a tree in a new folder: a merged ``/etc``, or the first ``/var``.

Everything is written through descriptors of folders that this module made itself, one name at a
time, with ``O_EXCL``: whatever symbolic links the trees hold, or somebody plants meanwhile, no
write leaves the target. Nothing is synced here; the caller makes the whole durable before it gets
the name by which it is found. For each inode the order is content, owner, extended attributes,
mode, time: chown(2) clears set-ID bits and file capabilities, and an ACL is written before the mode
that agrees with it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bootd.durable import storage_errors
from bootd.etc.disk.contents import Openable
from bootd.etc.disk.descriptors import closing, errors_at, open_file, open_folder, open_parent
from bootd.etc.rules.compare import NOT_COMPARED
from bootd.etc.rules.plan import Outcome, Side
from bootd.file_flags import carry_flags
from bootd.model.errors import DamagedObjectError
from bootd.model.etc.report import EtcNote, NoteKind, escape, path_below
from bootd.model.tree import Directory, Metadata, RegularFile, SpecialFile, Symlink

_CHUNK: Final = 1 << 20
_COPY_AT_ONCE: Final = 1 << 30
_SMALL: Final = 128 << 10
"""Bytes up to which a content is quicker copied by reading and writing it."""
_BLOCK: Final = 512
_NANOSECONDS: Final = 1_000_000_000
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_RANGE_COPY: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
)
_REFUSED_XATTR: Final = frozenset(
    {errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL, errno.E2BIG, errno.ERANGE}
)
_ROOM_LEFT: Final = 64
"""Free blocks that show that ENOSPC means 'too large for this file system', not 'disk full'."""


@dataclass(slots=True)
class Source:
    """Where contents come from.

    Attributes:
        mine: a descriptor of the machine's ``/etc``; None where nothing of it is needed.
        contents: where image files come from.
    """

    mine: int | None
    contents: Openable


@contextmanager
def empty_folder(target: Path) -> Iterator[int]:
    """Make a folder, or take an empty one, and give its descriptor.

    Raises:
        NoSpaceError: no room for it.
        WriteFailedError: it is no folder or not empty, or the kernel refused.
    """
    with storage_errors("write to", target):
        if not target.is_dir():
            target.mkdir(mode=0o700)
        descriptor = os.open(target, _OPEN_FOLDER)
    with closing(descriptor):
        with storage_errors("write to", target):
            _require_empty(descriptor)
        yield descriptor


def _require_empty(descriptor: int) -> None:
    if os.listdir(descriptor):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))


def remove_entries(descriptor: int, folder: Path) -> None:
    """Empty a folder that nobody relies on yet."""
    with storage_errors("empty", folder):
        for name in os.listdir(descriptor):
            if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=descriptor)
            else:
                os.unlink(name, dir_fd=descriptor)


def write_tree(
    root: Outcome, descriptor: int, folder: Path, source: Source, place: str = "/etc"
) -> list[EtcNote]:
    """Write a decided tree into an empty folder; not yet durable.

    Args:
        root: the tree.
        descriptor: the folder, open.
        folder: its path, for messages.
        source: where contents come from.
        place: what the folder will be on the machine; notes have paths below that.

    Returns:
        What could not be carried faithfully.

    Raises:
        NoSpaceError: the disk is full.
        WriteFailedError: the kernel refused a read or a write.
        DamagedObjectError: a content of the image is missing or of another size.
    """
    writing = _Writing(descriptor, place, folder, source)
    writing.fill(root, descriptor, source.mine, b"")
    return writing.notes


def dress_folder(descriptor: int, folder: Path, path: bytes, dress: Metadata) -> None:
    """Give a folder that is there other metadata, and take attributes away that it has not.

    Raises:
        WriteFailedError: the kernel refused.
    """
    with errors_at("write", folder, path):
        for name in os.listxattr(descriptor):
            if os.fsencode(name) not in dress.xattrs.keys() | NOT_COMPARED:
                os.removexattr(descriptor, name)
        _Dressing(descriptor, "/etc").finish(descriptor, dress, path)


@dataclass(slots=True)
class _Dressing:
    """Sets metadata below the open folder `root`; what the file system refuses is noted."""

    root: int
    place: str
    notes: list[EtcNote] = field(default_factory=list, init=False)

    def finish(self, descriptor: int, metadata: Metadata, path: bytes) -> None:
        """Set all metadata of what a descriptor, opened to read or write, stands for."""
        self._finish(descriptor, os.fstat(descriptor), metadata, path)

    def finish_handle(self, handle: int, metadata: Metadata, path: bytes) -> None:
        """Do the same for an ``O_PATH`` handle of anything, a symbolic link included."""
        # Through /proc the calls take it as itself.
        self._finish(f"/proc/self/fd/{handle}", os.fstat(handle), metadata, path)

    def _finish(
        self, where: int | str, status: os.stat_result, metadata: Metadata, path: bytes
    ) -> None:
        if (status.st_uid, status.st_gid) != (metadata.uid, metadata.gid):
            os.chown(where, metadata.uid, metadata.gid)
        for name, value in sorted(metadata.xattrs.items()):
            self._set_xattr(where, name, value, path)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(where, metadata.permissions)  # noqa: PTH101 - a descriptor
        time = metadata.mtime_seconds * _NANOSECONDS + metadata.mtime_nanoseconds
        os.utime(where, ns=(time, time))

    def _set_xattr(self, where: int | str, name: bytes, value: bytes, path: bytes) -> None:
        try:
            os.setxattr(where, name, value)
        except OSError as error:
            too_large = error.errno == errno.ENOSPC and self._has_room()
            if not too_large and error.errno not in _REFUSED_XATTR:
                raise
            self.note(path, NoteKind.XATTR_DROPPED, f"{escape(name)}: {error.strerror}")

    def _has_room(self) -> bool:
        return os.fstatvfs(self.root).f_bavail > _ROOM_LEFT

    def note(self, path: bytes, kind: NoteKind, detail: str) -> None:
        where = path_below(self.place, path)
        self.notes.append(EtcNote(path=where, kind=kind, detail=detail))


@dataclass(slots=True)
class _Writing(_Dressing):
    folder: Path
    source: Source
    linked: dict[int, tuple[bytes, Metadata]] = field(default_factory=dict)
    """Where the content of a node was written first, and with what metadata."""

    def fill(self, outcome: Outcome, target: int, mine: int | None, prefix: bytes) -> None:
        """Write what a folder holds, then its own metadata, so that its time stands."""
        for name, child in outcome.children.items():
            path = prefix + name
            with errors_at("write", self.folder, path):
                self._write(name, child, target, mine, path)
        with errors_at("write", self.folder, prefix):
            self.finish(target, outcome.metadata, prefix.rstrip(b"/"))
            if mine is not None:
                carry_flags(mine, target)

    def _write(
        self, name: bytes, outcome: Outcome, target: int, mine: int | None, path: bytes
    ) -> None:
        match outcome.content:
            case Directory():
                os.mkdir(name, 0o700, dir_fd=target)
                with (
                    closing(os.open(name, _OPEN_FOLDER, dir_fd=target)) as below,
                    closing(None if mine is None else open_folder(name, mine)) as mine_below,
                ):
                    assert below is not None
                    self.fill(outcome, below, mine_below, path + b"/")
            case RegularFile() as file:
                if not self._link(name, outcome, target):
                    self._file(name, file, outcome, target, mine, path=path)
            case Symlink() as link:
                os.symlink(link.target, name, dir_fd=target)
                self._finish_by_name(name, target, outcome.metadata, path)
            case SpecialFile() as special:
                self._special(name, special, outcome, target, path)

    def _link(self, name: bytes, outcome: Outcome, target: int) -> bool:
        """Give a file that was written before another name, if that is all it differs by."""
        path, metadata = self.linked.get(id(outcome.content), (b"", None))
        if metadata is None or not _same_inode(metadata, outcome.metadata):
            return False
        with closing(open_parent(self.root, path)) as parent:
            if parent is None:
                return False
            first = path.rpartition(b"/")[2]
            try:
                os.link(first, name, src_dir_fd=parent, dst_dir_fd=target, follow_symlinks=False)
            except OSError as error:
                if error.errno != errno.EMLINK:
                    raise
                return False
        return True

    def _file(
        self,
        name: bytes,
        file: RegularFile,
        outcome: Outcome,
        target: int,
        mine: int | None,
        *,
        path: bytes,
    ) -> None:
        with closing(self._open(name, file, outcome.side, mine, path)) as source:
            if source is None and file.content is None:
                return  # It vanished from mine; whoever compares snapshots afterwards sees that.
            with closing(os.open(name, _CREATE, 0o600, dir_fd=target)) as descriptor:
                assert descriptor is not None
                if source is None:
                    _write_all(descriptor, file.content or b"")
                else:
                    size = _copy(source, descriptor)
                    if outcome.side is Side.MINE:
                        carry_flags(source, descriptor)
                    if outcome.side is Side.THEIRS and size != file.size:
                        raise DamagedObjectError(
                            f"the content of {path_below(self.place, path)} in the image has "
                            f"{size} bytes instead of {file.size}"
                        )
                self.finish(descriptor, outcome.metadata, path)
        self.linked.setdefault(id(file), (path, outcome.metadata))

    def _open(
        self, name: bytes, file: RegularFile, side: Side, mine: int | None, path: bytes
    ) -> int | None:
        """Open what a file's content is read from; None where it is inline, or has vanished."""
        if file.content is not None:
            return None
        if side is Side.THEIRS:
            return self.source.contents.open(file)
        return None if mine is None else open_file(name, mine)

    def _special(
        self, name: bytes, special: SpecialFile, outcome: Outcome, target: int, path: bytes
    ) -> None:
        try:
            os.mknod(name, special.file_type | 0o600, special.rdev, dir_fd=target)
        except PermissionError as error:
            self.note(path, NoteKind.SPECIAL_SKIPPED, f"mknod: {error.strerror}")
            return
        self._finish_by_name(name, target, outcome.metadata, path)

    def _finish_by_name(self, name: bytes, target: int, metadata: Metadata, path: bytes) -> None:
        """Set the metadata of what cannot be opened, through a handle that follows nothing."""
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        with closing(os.open(name, flags, dir_fd=target)) as handle:
            assert handle is not None
            self.finish_handle(handle, metadata, path)


def _same_inode(one: Metadata, other: Metadata) -> bool:
    """Tell whether two names can share one inode; times do not keep them apart."""
    return (one.permissions, one.uid, one.gid, one.xattrs) == (
        other.permissions,
        other.uid,
        other.gid,
        other.xattrs,
    )


def _copy(source: int, target: int) -> int:
    """Copy a content as it was long when it was opened, with its holes.

    Blocks are shared where that is possible.
    """
    status = os.fstat(source)
    size, end = status.st_size, 0
    if size <= _SMALL:
        return _write_all(target, os.read(source, size))
    sparse = status.st_blocks * _BLOCK < size
    for start, stop in _stretches(source, size) if sparse else [(0, size)]:
        os.lseek(source, start, os.SEEK_SET)
        os.lseek(target, start, os.SEEK_SET)
        end = start + _copy_stretch(source, target, stop - start)
        if end < stop:
            return end
    if end < size:
        os.ftruncate(target, size)
    return size


def _stretches(source: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where a file has data (lseek(2)); where that is not known it has it throughout."""
    start = 0
    while start < size:
        try:
            start = os.lseek(source, start, os.SEEK_DATA)
            stop = os.lseek(source, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            if error.errno != errno.EINVAL:
                raise
            stop = size
        stop = min(stop, size)
        if start < stop:
            yield start, stop
        start = stop


def _copy_stretch(source: int, target: int, size: int) -> int:
    left = size
    while left > 0:
        try:
            copied = os.copy_file_range(source, target, min(left, _COPY_AT_ONCE))
        except OSError as error:
            if error.errno not in _NO_RANGE_COPY:
                raise
            copied = _write_all(target, os.read(source, min(left, _CHUNK)))
        if copied == 0:
            break
        left -= copied
    return size - left


def _write_all(target: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return len(data)
