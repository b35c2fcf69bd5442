"""A real ``/etc`` as values: read once, through descriptors, following no symbolic link.

A folder that is in use changes while it is read. What vanishes between two looks counts as never
seen, a content that changes while it is measured is read again a bounded number of times, and
`Snapshot.changed` lets the caller find out whether anything moved in the meantime.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bootd.durable import storage_errors
from bootd.etc.disk.contents import Contents
from bootd.etc.disk.descriptors import (
    CHUNK,
    VANISHED,
    chunks_of,
    closing,
    errors_at,
    open_file,
    open_folder,
    opened_folder,
)
from bootd.file_flags import FIXED
from bootd.model.errors import EtcTooLargeError
from bootd.model.etc.report import escape
from bootd.model.tree import (
    INLINE_LIMIT,
    Directory,
    Metadata,
    Node,
    RegularFile,
    SpecialFile,
    Symlink,
)

MAX_ENTRIES: Final = 2_000_000
"""Most entries of an ``/etc``; one of Debian has 3,000."""
MAX_DEPTH: Final = 128
"""Deepest nesting; each level costs a few descriptors and stack frames."""
_MAX_READS: Final = 3
_LIBC: Final = ctypes.CDLL(None)
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_STATX_SIZE: Final = 256
_STATX_OFFSET: Final = 8
_STATX_ATTRIBUTES: Final = struct.Struct("=Q")
"""STATX_ATTR_IMMUTABLE and STATX_ATTR_APPEND of linux/stat.h, whose ``stx_attributes`` follows two
32-bit fields."""
_NO_XATTRS: Final = frozenset({errno.EOPNOTSUPP, errno.ENODATA})
_NOTHING: Final = Metadata()
_NO_FOLDER: Final = SpecialFile(_NOTHING, 0)


@dataclass(slots=True)
class Snapshot:
    """What a folder held when it was read.

    Attributes:
        root: the tree; names of one inode share one node. A regular file's content is known (inline
            or measured) where a reference has a file of the same size at its path, else unknown.
            A file that is in all as a reference has it is that very node: nearly every comparison
            is of a node with itself then.
        states: for each path a number that is another one once inode, mode, size or change time is.
        immutable: by path, those flags of files and folders that make them immutable or only added
            to (chattr(1)).
    """

    root: Directory
    states: dict[bytes, int]
    immutable: dict[bytes, int]

    def changed(self, folder: Path) -> list[bytes]:
        """Return the paths of the folder that came, went or were written to since it was read.

        Raises:
            EtcTooLargeError, WriteFailedError: see `scan_folder`.
        """
        now = _scanned(_Scan(folder, None, states_only=True), ()).states
        paths = now.keys() | self.states.keys()
        return sorted(path for path in paths if now.get(path) != self.states.get(path))


def scan_folder(
    path: Path, contents: Contents | None = None, references: Sequence[Directory] = ()
) -> Snapshot:
    """Read a folder's tree; measure only the files that cannot be told from a reference by size.

    Raises:
        EtcTooLargeError: more than `MAX_ENTRIES` entries or deeper than `MAX_DEPTH`.
        WriteFailedError: the kernel refused to read.
    """
    return _scanned(_Scan(path, contents), references)


def _scanned(scan: _Scan, references: Sequence[Directory]) -> Snapshot:
    with opened_folder(scan.folder) as descriptor:
        with storage_errors("read", scan.folder):
            status = os.fstat(descriptor)
            root = Directory(_metadata(status, b"/proc/self/fd/%d/." % descriptor))
        scan.states[b""] = state_of(status)
        scan.fill(root, descriptor, b"", list(references), 1)
    return Snapshot(root, scan.states, scan.immutable)


def state_of(status: os.stat_result) -> int:
    """Return a number for an inode's state that changes with every write or metadata change."""
    return hash(
        (
            status.st_dev,
            status.st_ino,
            status.st_mode,
            status.st_size if not stat.S_ISDIR(status.st_mode) else 0,
            status.st_ctime_ns,
        )
    )


@dataclass(slots=True)
class _Scan:
    """One walk: the tree so far is bounded, and hard links find their first node again.

    One for the states alone has nodes of the right type that say nothing else.
    """

    folder: Path
    contents: Contents | None
    states_only: bool = False
    states: dict[bytes, int] = field(default_factory=dict)
    immutable: dict[bytes, int] = field(default_factory=dict)
    linked: dict[tuple[int, int], RegularFile] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)
    """Identities of references' nodes that stand in the tree: several inodes share none."""
    answer: ctypes.Array[ctypes.c_char] = field(
        default_factory=lambda: ctypes.create_string_buffer(_STATX_SIZE)
    )

    def fill(
        self,
        directory: Directory,
        descriptor: int,
        prefix: bytes,
        references: list[Directory],
        depth: int,
    ) -> None:
        if depth > MAX_DEPTH:
            raise EtcTooLargeError(
                f"{self.folder}/{escape(prefix)[:200]} is nested deeper than {MAX_DEPTH} folders"
            )
        with errors_at("read", self.folder, prefix):
            names = sorted(os.fsencode(name) for name in os.listdir(descriptor))
        for name in names:
            path = prefix + name
            counterparts = [
                reference.entries[name] for reference in references if name in reference.entries
            ]
            with errors_at("read", self.folder, path):
                node = self._node(name, descriptor, path, counterparts)
            if node is None:
                continue
            if len(self.states) > MAX_ENTRIES + 1:  # The folder itself is in it.
                raise EtcTooLargeError(f"{self.folder} holds more than {MAX_ENTRIES} entries")
            directory.entries[name] = node
            if isinstance(node, Directory):
                folders = [node for node in counterparts if isinstance(node, Directory)]
                with errors_at("read", self.folder, path):
                    opened = open_folder(name, descriptor)
                with closing(opened) as below:
                    if below is not None:
                        self.fill(node, below, path + b"/", folders, depth + 1)

    def _node(self, name: bytes, parent: int, path: bytes, counterparts: list[Node]) -> Node | None:
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            node: Node
            if self.states_only:
                node = Directory(_NOTHING) if stat.S_ISDIR(status.st_mode) else _NO_FOLDER
            else:
                node = self._whole(name, parent, path, status, counterparts)
        except OSError as error:
            if error.errno in VANISHED:
                return None
            raise
        self.states[path] = state_of(status)
        return node

    def _whole(
        self,
        name: bytes,
        parent: int,
        path: bytes,
        status: os.stat_result,
        counterparts: list[Node],
    ) -> Node:
        """Read what stands at a path; of a folder only itself."""
        where = b"/proc/self/fd/%d/%s" % (parent, name)
        if stat.S_ISLNK(status.st_mode):
            return Symlink(_metadata(status, where), os.readlink(name, dir_fd=parent))
        node: Node
        if stat.S_ISREG(status.st_mode):
            node = self._file(name, parent, status, where, counterparts)
        elif stat.S_ISDIR(status.st_mode):
            node = Directory(_metadata(status, where))
        else:
            metadata = _metadata(status, where)
            return SpecialFile(metadata, stat.S_IFMT(status.st_mode), status.st_rdev)
        fixed = self._fixed(name, parent)
        if fixed:
            self.immutable[path] = fixed
        return node

    def _fixed(self, name: bytes, parent: int) -> int:
        """Return what stat(2) does not tell; where statx(2) does not either, nothing is set."""
        if _LIBC.statx(parent, name, _AT_SYMLINK_NOFOLLOW, 0, self.answer) != 0:
            return 0
        (attributes,) = _STATX_ATTRIBUTES.unpack_from(self.answer, _STATX_OFFSET)
        # Both are numbered as the flags are.
        return int(attributes) & FIXED

    def _file(
        self,
        name: bytes,
        parent: int,
        status: os.stat_result,
        where: bytes,
        counterparts: list[Node],
    ) -> RegularFile:
        identity = (status.st_dev, status.st_ino)
        node = self.linked.get(identity)
        if node is None:
            node = RegularFile(_metadata(status, where), status.st_size)
            if status.st_nlink > 1:
                self.linked[identity] = node
        if node.content is None and node.verity is None and _comparable(node, counterparts):
            self._measure(node, name, parent)
        return node if status.st_nlink > 1 else self._as_known(node, counterparts)

    def _as_known(self, node: RegularFile, counterparts: list[Node]) -> RegularFile:
        """Return the reference's node that says the same of a file with one name, if there is."""
        for known in counterparts:
            if (
                isinstance(known, RegularFile)
                and _is_alike(known, node)
                and id(known) not in self.taken
            ):
                self.taken.add(id(known))
                return known
        return node

    def _measure(self, node: RegularFile, name: bytes, parent: int) -> None:
        """Learn a file's content; of one that never holds still it stays unknown."""
        if node.size == 0:
            node.content = b""
            return
        for _ in range(_MAX_READS):
            with closing(open_file(name, parent)) as descriptor:
                if descriptor is None:
                    return
                before = os.fstat(descriptor)
                size = before.st_size
                if size <= INLINE_LIMIT:
                    node.content = os.read(descriptor, size)
                elif self.contents is not None:
                    whole = size <= CHUNK
                    chunks = (os.read(descriptor, size),) if whole else chunks_of(descriptor, size)
                    node.verity = self.contents.measure(chunks)
                after = os.fstat(descriptor)
            if before.st_ctime_ns == after.st_ctime_ns and size == after.st_size == node.size:
                return
            node.content = node.verity = None


def _comparable(file: RegularFile, counterparts: list[Node]) -> bool:
    return any(isinstance(node, RegularFile) and node.size == file.size for node in counterparts)


def _is_alike(known: RegularFile, file: RegularFile) -> bool:
    """Tell whether a file's content is known, and all of it as that of another."""
    return (
        known.verity == file.verity
        and known.content == file.content
        and (file.verity is not None or file.content is not None)
        and known.size == file.size
        and known.metadata == file.metadata
    )


def _metadata(status: os.stat_result, where: bytes) -> Metadata:
    seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
    return Metadata(
        permissions=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_seconds=seconds,
        mtime_nanoseconds=nanoseconds,
        xattrs=_xattrs(where),
    )


def _xattrs(where: bytes) -> dict[bytes, bytes]:
    """Return all extended attributes, of any size; Python asks again with more room on ERANGE."""
    try:
        names = os.listxattr(where, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return {}
        raise
    attributes = {}
    for name in names:
        try:
            attributes[os.fsencode(name)] = os.getxattr(where, name, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_XATTRS:
                raise
    return attributes
