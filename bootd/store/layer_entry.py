"""What a tar entry may say, and what it says as a value of a tree.

An entry is data: its name is never opened, so nothing here can be led out of a folder. What a name
means among the layers below is decided by `bootd.store.compose`. Whiteouts: OCI Image Specification
1.1, layer.md, "Whiteouts".
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from bootd.model.errors import InvalidLayerError
from bootd.model.tree import (
    INLINE_LIMIT,
    Directory,
    Metadata,
    Node,
    RegularFile,
    SpecialFile,
    Symlink,
)
from bootd.store.images.dumpfile import DumpEntry
from bootd.store.objects.files import IN_MEMORY_LIMIT
from bootd.store.tar.header import HARD_LINK, TarEntry, shown

NAME_LIMIT: Final = 255
PATH_LIMIT: Final = 4095
DEPTH_LIMIT: Final = 1_024
"""Most folders above an entry: far more than any image has, half of what `PATH_LIMIT` allows."""

_UNUSUAL: Final = re.compile(rb"//|(?:^|/)\.\.?(?:/|$)")
_ROOT: Final = frozenset({b".", b"./", b"/", b"/."})


class ContentReader(Protocol):
    """Gives the content of the current entry, once, as `bootd.store.tar.reader.TarReader` does."""

    def read(self) -> bytes:
        """Return all of it."""

    def content(self) -> Iterator[bytes]:
        """Yield it in pieces."""


class ContentWriter(Protocol):
    """Takes contents, as `bootd.store.objects.files.ObjectWriter` does."""

    def add_soon(self, file: RegularFile, content: bytes, /) -> None:
        """Store a content; the file has its digest sooner or later."""

    def add_stream(self, pieces: Iterable[bytes], /) -> bytes:
        """Store a content that comes in pieces and return its digest."""


def store_entry(tar: TarEntry, reader: ContentReader, writer: ContentWriter) -> DumpEntry:
    """Return an entry as a line of the layer's index; a large content becomes an object.

    The digest of that may be known only after the writer's `catch_up`.

    Raises:
        InvalidLayerError: the entry is none that a builder writes; it is named.
        NoSpaceError, WriteFailedError: its object could not be stored.
    """
    path = tree_path(tar.name)
    if tar.file_type == HARD_LINK:
        target = tree_path(tar.link, tar.name)
        return DumpEntry(path, None, target)
    if path == b"/" and tar.file_type != stat.S_IFDIR:
        raise InvalidLayerError(f"entry {shown(tar.name)}: a layer's root is not a folder")
    return DumpEntry(path, _node(tar, reader, writer))


def held_entry(tar: TarEntry, verity: bytes) -> DumpEntry:
    """Return a regular file whose object is in the store already.

    Raises:
        InvalidLayerError: as for `store_entry`.
    """
    return DumpEntry(tree_path(tar.name), RegularFile(_metadata(tar), tar.size, verity=verity))


def tree_path(name: bytes, entry: bytes | None = None) -> bytes:
    """Return the name of an entry as an absolute path in the image's tree.

    A name may begin with a slash and climb with ``..``: it is what it comes to as text, as in all
    tools that unpack layers. One that climbs above the image's root is refused, though others let
    it stay there: no builder writes it, and who does has no good in mind.

    Args:
        name: as it stands in the tar stream.
        entry: the entry it belongs to, for messages, when it is not its own name.

    Raises:
        InvalidLayerError: it is empty or leaves the image, or no file system could hold it.
    """
    if name in _ROOT:
        return b"/"
    path = name[2:] if name.startswith(b"./") else name
    path = path.strip(b"/")
    whose = name if entry is None else entry
    if not name:
        raise InvalidLayerError(f"entry {shown(whose)} has an empty name")
    # Nearly no name has any of this; the expression takes as long as all else here.
    if (b"//" in path or path[:1] == b"." or b"/." in path) and _UNUSUAL.search(path):
        path = _plain(path, whose)
    if not path:
        return b"/"
    if len(path) > NAME_LIMIT:
        _check_length(path, whose)
    if path.count(b"/") > DEPTH_LIMIT:
        raise InvalidLayerError(f"entry {shown(whose)} lies more than {DEPTH_LIMIT} folders deep")
    return b"/" + path


def _plain(path: bytes, whose: bytes) -> bytes:
    """Return a path without ``.``, ``..`` and empty names."""
    names: list[bytes] = []
    for name in path.split(b"/"):
        if name == b"..":
            if not names:
                raise InvalidLayerError(
                    f"entry {shown(whose)} has '..' in its name where there is no folder above: "
                    "it leaves the image"
                )
            names.pop()
        elif name not in (b"", b"."):
            names.append(name)
    return b"/".join(names)


def _check_length(path: bytes, whose: bytes) -> None:
    if len(path) >= PATH_LIMIT or any(len(name) > NAME_LIMIT for name in path.split(b"/")):
        raise InvalidLayerError(
            f"entry {shown(whose)} has a name longer than {NAME_LIMIT} bytes or a path longer than "
            f"{PATH_LIMIT}"
        )


def _node(tar: TarEntry, reader: ContentReader, writer: ContentWriter) -> Node:
    metadata = _metadata(tar)
    size = tar.size
    match tar.file_type:
        case stat.S_IFREG if size <= INLINE_LIMIT:
            return RegularFile(metadata, size, content=reader.read())
        case stat.S_IFREG if size <= IN_MEMORY_LIMIT:
            file = RegularFile(metadata, size)
            writer.add_soon(file, reader.read())
            return file
        case stat.S_IFREG:
            return RegularFile(metadata, size, verity=writer.add_stream(reader.content()))
        case stat.S_IFDIR:
            return Directory(metadata)
        case stat.S_IFLNK:
            if not 0 < len(tar.link) <= PATH_LIMIT:
                raise InvalidLayerError(
                    f"entry {shown(tar.name)} links to a name of {len(tar.link)} bytes"
                )
            # Linux has no other permissions for a link, whatever a builder wrote down.
            metadata.permissions = 0o777
            return Symlink(metadata, tar.link)
        case kind:
            return SpecialFile(metadata, kind, tar.device)


def _metadata(tar: TarEntry) -> Metadata:
    return Metadata(
        tar.permissions,
        tar.uid,
        tar.gid,
        tar.mtime_seconds,
        tar.mtime_nanoseconds,
        tar.xattrs,
    )
