"""Plain files: those that carry nothing but the name of their object, as nearly all of an image do.

Each is known as bytes as soon as its number is; only where it goes is not. Such an inode has one
name, one chunk and two attributes, its own or shared with others of the same content, so there are
two forms of each, compact and extended, all of one size, and that a whole number of slots.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from struct import Struct
from typing import Final

from bootd.model.tree import Metadata, RegularFile
from bootd.store.erofs.encoding import Time, attributes_count, fits_compact
from bootd.store.erofs.layout import (
    BLOCK,
    BLOCK_BITS,
    CHUNK_BASED,
    CHUNK_BITS_LIMIT,
    COMPACT_INODE,
    DATA_LAYOUT_SHIFT,
    EXTENDED,
    EXTENDED_INODE,
    NULL_CHUNK,
    SLOT,
    UINT32_MAX,
    VERITY_SIZE,
    round_up,
)
from bootd.store.erofs.overlay import object_path
from bootd.store.erofs.xattrs import ObjectAttributes

_ONE_CHUNK_LIMIT: Final = 1 << CHUNK_BITS_LIMIT
_FORMAT: Final = CHUNK_BASED << DATA_LAYOUT_SHIFT
_ATTRIBUTES: Final = ObjectAttributes()
_COUNT: Final = attributes_count(_ATTRIBUTES.size)
_BEFORE: Final = _ATTRIBUTES.before_digest
_BETWEEN: Final = _ATTRIBUTES.before_path
_AFTER: Final = _ATTRIBUTES.after_path + NULL_CHUNK
_BEFORE_WORDS: Final = _ATTRIBUTES.before_words
SHARED_WORDS: Final = Struct("<II")
"""Where the two attributes are that name a shared object, in words from a block's start."""
_SHARED_COUNT: Final = attributes_count(len(_BEFORE_WORDS) + SHARED_WORDS.size)


def _with_tail(inode: Struct) -> Struct:
    """Return an inode's structure with attributes, digest and path in them, and whole slots."""
    path = len(object_path(bytes(VERITY_SIZE)))
    tail = f"{len(_BEFORE)}s{VERITY_SIZE}s{len(_BETWEEN)}s{path}s{len(_AFTER)}s"
    size = Struct(f"{inode.format}{tail}").size
    return Struct(f"{inode.format}{tail}{-size % SLOT}x")


_COMPACT: Final = _with_tail(COMPACT_INODE)
_EXTENDED: Final = _with_tail(EXTENDED_INODE)


class PlainFiles:
    """Makes the bytes of the plain files of one image.

    Args:
        metadata: all that its nodes have.
        oldest: the earliest mtime; compact inodes have this one.
    """

    def __init__(self, metadata: Iterable[Metadata], oldest: Time) -> None:
        # Files share their metadata, so what it comes to is found once.
        self._metadata = {
            id(one): (
                stat.S_IFREG | one.permissions,
                one.uid,
                one.gid,
                one.mtime_seconds,
                one.mtime_nanoseconds,
                fits_compact(one, oldest),
            )
            for one in metadata
            if not one.xattrs
        }

    def is_plain(self, node: RegularFile) -> bool:
        """Return whether a file that has one name is plain."""
        return (
            id(node.metadata) in self._metadata
            and node.content is None
            and node.verity is not None
            and len(node.verity) == VERITY_SIZE
            and 0 < node.size <= _ONE_CHUNK_LIMIT
        )

    def encode(self, node: RegularFile, number: int) -> bytes:
        """Return a plain file as whole slots; no other inode names its object.

        `number` is its place among all inodes.
        """
        mode, uid, gid, seconds, nanoseconds, compact = self._metadata[id(node.metadata)]
        size = node.size
        chunk = _chunk_format(size) if size > BLOCK else 0
        verity = node.verity
        assert verity is not None
        path = object_path(verity)
        # One call with all there is: any other way takes twice as long, a hundred thousand times.
        if compact and size <= UINT32_MAX:
            return _COMPACT.pack(
                _FORMAT, _COUNT, mode, 1, size, chunk, number, uid, gid,
                _BEFORE, verity, _BETWEEN, path, _AFTER,
            )  # fmt: skip
        return _EXTENDED.pack(
            _FORMAT | EXTENDED, _COUNT, mode, size, chunk, number, uid, gid,
            seconds, nanoseconds, 1, _BEFORE, verity, _BETWEEN, path, _AFTER,
        )  # fmt: skip

    def encode_shared(self, node: RegularFile, number: int) -> tuple[bytes, int]:
        """Do the same for one whose object other inodes name, too.

        Returns:
            its bytes, and where in them `SHARED_WORDS` are to be.
        """
        mode, uid, gid, seconds, nanoseconds, compact = self._metadata[id(node.metadata)]
        size = node.size
        chunk = _chunk_format(size) if size > BLOCK else 0
        if compact and size <= UINT32_MAX:
            inode = COMPACT_INODE.pack(
                _FORMAT, _SHARED_COUNT, mode, 1, size, chunk, number, uid, gid
            )
        else:
            inode = EXTENDED_INODE.pack(
                _FORMAT | EXTENDED, _SHARED_COUNT, mode, size, chunk, number, uid, gid,
                seconds, nanoseconds, 1,
            )  # fmt: skip
        words = len(inode) + len(_BEFORE_WORDS)
        whole = b"".join((inode, _BEFORE_WORDS, bytes(SHARED_WORDS.size), NULL_CHUNK))
        return whole.ljust(round_up(len(whole), SLOT), b"\0"), words


def _chunk_format(size: int) -> int:
    """Return how an inode tells that one chunk holds so many bytes, more than a block."""
    return (size - 1).bit_length() - BLOCK_BITS
