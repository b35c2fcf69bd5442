"""Plain files: those that carry only the name of their object, as nearly all of an image do.

Each is known as bytes as soon as its number is; only where it goes is not. Such an inode has one
name, one chunk and two attributes, its own or shared with others of the same content, and perhaps
an SELinux label, which it shares; so there are two forms of each, compact and extended, each of one
size, and that a whole number of slots.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable
from struct import Struct
from typing import Final

from bootd.model.hash_algorithm import BY_DIGEST_SIZE, HashAlgorithm
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
    XATTR_HEADER,
    round_up,
)
from bootd.store.erofs.overlay import SELINUX, object_path
from bootd.store.erofs.xattrs import ObjectAttributes

_ONE_CHUNK_LIMIT: Final = 1 << CHUNK_BITS_LIMIT
_FORMAT: Final = CHUNK_BASED << DATA_LAYOUT_SHIFT
WORD: Final = Struct("<I")
"""Where an attribute is that several inodes share, in words from a block's start."""


class _Form:
    """The bytes around what differs from file to file, for those with a label or without.

    Attributes:
        count, shared_count: how an inode tells the size of its attributes, with those that name
            its object in it or shared.
        compact, extended: an inode with attributes, digest and path in it, in whole slots.
    """

    __slots__ = ("_digest_size", "after", "before", "before_words", "between", "compact", "count",
                 "extended", "shared_count", "words")  # fmt: skip

    def __init__(self, algorithm: HashAlgorithm, *, labelled: bool) -> None:
        attributes = ObjectAttributes(algorithm, labelled=labelled)
        self._digest_size = algorithm.digest_size
        self.count = attributes_count(attributes.size)
        self.before = attributes.before_digest
        self.between = attributes.before_path
        self.after = attributes.after_path + NULL_CHUNK
        self.before_words = attributes.before_words
        self.words = attributes.words
        shared_size = len(attributes.before_words) + WORD.size * attributes.words
        self.shared_count = attributes_count(shared_size)
        self.compact = self._with_tail(COMPACT_INODE)
        self.extended = self._with_tail(EXTENDED_INODE)

    def _with_tail(self, inode: Struct) -> Struct:
        verity = self._digest_size
        path = len(object_path(bytes(verity)))
        tail = f"{len(self.before)}s{verity}s{len(self.between)}s{path}s{len(self.after)}s"
        size = Struct(f"{inode.format}{tail}").size
        return Struct(f"{inode.format}{tail}{-size % SLOT}x")


_PLAIN: Final = {size: _Form(one, labelled=False) for size, one in BY_DIGEST_SIZE.items()}
_LABELLED: Final = {size: _Form(one, labelled=True) for size, one in BY_DIGEST_SIZE.items()}
"""By the bytes of a digest."""
_ONLY_A_LABEL: Final = {SELINUX}


class PlainFiles:
    """Makes the bytes of the plain files of one image.

    Args:
        algorithm: made the digests of its objects.
        metadata: all that its nodes have.
        oldest: the earliest mtime; compact inodes have this one.
        labels: the SELinux labels that several inodes have.

    Attributes:
        digest_size: bytes of a digest.
    """

    def __init__(
        self,
        algorithm: HashAlgorithm,
        metadata: Iterable[Metadata],
        oldest: Time,
        labels: Collection[bytes] = (),
    ) -> None:
        self.digest_size = size = algorithm.digest_size
        plain, labelled = _PLAIN[size], _LABELLED[size]
        # Files share their metadata, so what it comes to is found once.
        self._metadata = {
            id(one): (
                stat.S_IFREG | one.permissions,
                one.uid,
                one.gid,
                one.mtime_seconds,
                one.mtime_nanoseconds,
                fits_compact(one, oldest),
                labelled if one.xattrs else plain,
            )
            for one in metadata
            if not one.xattrs
            or (one.xattrs.keys() == _ONLY_A_LABEL and one.xattrs[SELINUX] in labels)
        }

    def is_plain(self, node: RegularFile) -> bool:
        """Return whether a file that has one name is plain."""
        return (
            id(node.metadata) in self._metadata
            and node.content is None
            and node.verity is not None
            and len(node.verity) == self.digest_size
            and 0 < node.size <= _ONE_CHUNK_LIMIT
        )

    def encode(self, node: RegularFile, number: int) -> bytes:
        """Return a plain file as whole slots; no other inode names its object.

        `number` is its place among all inodes. If it has a label, the word of that is to be at
        `label_place`.
        """
        mode, uid, gid, seconds, nanoseconds, compact, form = self._metadata[id(node.metadata)]
        size = node.size
        chunk = _chunk_format(size) if size > BLOCK else 0
        verity = node.verity
        assert verity is not None
        path = object_path(verity)
        # One call with all there is: any other way takes twice as long, a hundred thousand times.
        if compact and size <= UINT32_MAX:
            return form.compact.pack(
                _FORMAT, form.count, mode, 1, size, chunk, number, uid, gid,
                form.before, verity, form.between, path, form.after,
            )  # fmt: skip
        return form.extended.pack(
            _FORMAT | EXTENDED, form.count, mode, size, chunk, number, uid, gid,
            seconds, nanoseconds, 1, form.before, verity, form.between, path, form.after,
        )  # fmt: skip

    def label_place(self, node: RegularFile) -> int:
        """Return where in the bytes of a plain file with a label the word of that is to be."""
        compact = self._metadata[id(node.metadata)][5] and node.size <= UINT32_MAX
        return (COMPACT_INODE if compact else EXTENDED_INODE).size + XATTR_HEADER.size

    def encode_shared(self, node: RegularFile, number: int) -> tuple[bytes, int]:
        """Do the same for one whose object other inodes name, too.

        Returns:
            its bytes, and where in them the words of its attributes are to be.
        """
        mode, uid, gid, seconds, nanoseconds, compact, form = self._metadata[id(node.metadata)]
        size = node.size
        chunk = _chunk_format(size) if size > BLOCK else 0
        if compact and size <= UINT32_MAX:
            inode = COMPACT_INODE.pack(
                _FORMAT, form.shared_count, mode, 1, size, chunk, number, uid, gid
            )
        else:
            inode = EXTENDED_INODE.pack(
                _FORMAT | EXTENDED, form.shared_count, mode, size, chunk, number, uid, gid,
                seconds, nanoseconds, 1,
            )  # fmt: skip
        words = len(inode) + len(form.before_words)
        whole = b"".join((inode, form.before_words, bytes(WORD.size * form.words), NULL_CHUNK))
        return whole.ljust(round_up(len(whole), SLOT), b"\0"), words


def _chunk_format(size: int) -> int:
    """Return how an inode tells that one chunk holds so many bytes, more than a block."""
    return (size - 1).bit_length() - BLOCK_BITS
