"""A file system tree as values: what a layer, an image or an EROFS file describes.

Names, link targets and extended attributes are bytes, because a Linux file name is. A hard link is
one node object that stands under several names, so nodes compare by identity. A regular file of at
most `INLINE_LIMIT` bytes carries its content; a larger one names the object that holds it by
fs-verity SHA-256 digest.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

INLINE_LIMIT: Final = 64
"""Largest content, in bytes, that composefs keeps inside the EROFS image (mkcomposefs 1.0.8)."""


@dataclass(slots=True)
class Metadata:
    """What every inode has besides its content.

    `permissions` are the low twelve mode bits; the file type is the node's class.
    """

    permissions: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime_seconds: int = 0
    mtime_nanoseconds: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def mtime(self) -> tuple[int, int]:
        """When the content was modified last: seconds and nanoseconds."""
        return self.mtime_seconds, self.mtime_nanoseconds

    def with_mtime(self, mtime: tuple[int, int]) -> Metadata:
        """Return this metadata with another time, in seconds and nanoseconds."""
        seconds, nanoseconds = mtime
        return replace(self, mtime_seconds=seconds, mtime_nanoseconds=nanoseconds)


@dataclass(slots=True, eq=False)
class Directory:
    """A folder; `entries` maps a name (never ``.``, ``..`` or one with a slash) to its node."""

    metadata: Metadata
    entries: dict[bytes, Node] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class RegularFile:
    """A regular file: `content` when it is inline, else `verity`, the object's digest.

    An empty file has ``size == 0``, ``content == b""`` and no object.
    """

    metadata: Metadata
    size: int
    content: bytes | None = None
    verity: bytes | None = None


@dataclass(slots=True, eq=False)
class Symlink:
    """A symbolic link; `target` is 1 to 4095 bytes."""

    metadata: Metadata
    target: bytes


@dataclass(slots=True, eq=False)
class SpecialFile:
    """A device, FIFO or socket: `file_type` is the ``S_IFMT`` part of its mode."""

    metadata: Metadata
    file_type: int
    rdev: int = 0


Node = Directory | RegularFile | Symlink | SpecialFile


def file_type(node: Node) -> int:
    """Return the ``S_IFMT`` bits of a node."""
    match node:
        case Directory():
            return stat.S_IFDIR
        case RegularFile():
            return stat.S_IFREG
        case Symlink():
            return stat.S_IFLNK
        case SpecialFile():
            return node.file_type


def walk(directory: Directory, prefix: bytes = b"") -> Iterator[tuple[bytes, Node]]:
    """Yield (path, node) below a folder, parents first, names in byte order; no leading slash."""
    # A stack instead of recursion: a path of PATH_MAX bytes is deeper than the interpreter's limit.
    stack = [(prefix, iter(sorted(directory.entries)), directory)]
    while stack:
        before, names, folder = stack[-1]
        for name in names:
            node = folder.entries[name]
            path = before + name
            yield path, node
            if isinstance(node, Directory):
                stack.append((path + b"/", iter(sorted(node.entries)), node))
                break
        else:
            stack.pop()


def lookup(root: Directory, path: bytes) -> Node | None:
    """Return the node at a slash-separated path, following no symlink, or None."""
    node: Node = root
    for name in path.split(b"/"):
        if not name:
            continue
        if not isinstance(node, Directory) or name not in node.entries:
            return None
        node = node.entries[name]
    return node
