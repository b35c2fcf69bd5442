"""Extended attributes on disk: name indexes, the name filter, entries, sharing.

An attribute that more than one inode carries with the same value is stored once, in the shared
area, and the inodes name it by its 4-byte word there. Source: Linux, fs/erofs/xattr.h and
erofs_fs.h; the order of the shared area and what is shared are composefs 1.0.8's choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import starmap
from struct import pack
from typing import Final, NamedTuple

from bootd.store.erofs.layout import XATTR_ALIGNMENT, XATTR_ENTRY, XATTR_HEADER
from bootd.store.erofs.xxh32 import xxh32

Attribute = tuple[bytes, bytes]
"""A full name and its value."""

NAME_PREFIXES: Final = {
    1: b"user.",
    2: b"system.posix_acl_access",
    3: b"system.posix_acl_default",
    4: b"trusted.",
    6: b"security.",
}
"""What a name index stands for; index 0 has the whole name in the entry."""

SHARED_LIMIT: Final = 128
"""composefs stores an inode's further attributes inline although they are shared."""

_FILTER_SEED: Final = 0x25BBE08F
_FILTER_ALL: Final = 0xFFFF_FFFF
_FILTER_BITS: Final = 32


class EncodedName(NamedTuple):
    """A name as an entry holds it, and the filter bit it clears."""

    prefix: int
    suffix: bytes
    filter_bit: int


class InodeAttributes(NamedTuple):
    """What one inode stores of its attributes.

    `shared` are offsets, in words, from the start of the shared area.
    """

    name_filter: int
    shared: tuple[int, ...]
    inline: bytes

    @property
    def size(self) -> int:
        """Bytes behind the inode; 0 when it has no attributes."""
        if not self.shared and not self.inline:
            return 0
        return XATTR_HEADER.size + XATTR_ALIGNMENT * len(self.shared) + len(self.inline)

    def encode(self, first_word: int) -> bytes:
        """Return the bytes behind the inode; `first_word` is the shared area's in its block."""
        identifiers = (first_word + word for word in self.shared)
        return (
            XATTR_HEADER.pack(self.name_filter, len(self.shared))
            + pack(f"<{len(self.shared)}I", *identifiers)
            + self.inline
        )


NO_ATTRIBUTES: Final = InodeAttributes(_FILTER_ALL, (), b"")


class SharedAttributes:
    """The attributes that several inodes of one image have in common.

    Args:
        inodes: the attributes of every inode of the image.
    """

    def __init__(self, inodes: Iterable[Iterable[Attribute]]) -> None:
        uses: Counter[Attribute] = Counter()
        for attributes in inodes:
            uses.update(attributes)
        self._words: dict[Attribute, int] = {}
        entries = []
        offset = 0
        for attribute in _in_shared_order(item for item, count in uses.items() if count > 1):
            self._words[attribute] = offset // XATTR_ALIGNMENT
            entry = encode_entry(*attribute)
            entries.append(entry)
            offset += len(entry)
        self.area = b"".join(entries)
        """The bytes of the shared area."""

    def split(self, attributes: list[Attribute]) -> InodeAttributes:
        """Divide an inode's attributes, sorted by name, into shared and inline ones."""
        if not attributes:
            return NO_ATTRIBUTES
        name_filter = _FILTER_ALL
        shared: list[int] = []
        inline: list[Attribute] = []
        for attribute in attributes:
            name_filter &= ~encode_name(attribute[0]).filter_bit
            word = self._words.get(attribute)
            if word is None or len(shared) == SHARED_LIMIT:
                inline.append(attribute)
            else:
                shared.append(word)
        return InodeAttributes(name_filter, tuple(shared), b"".join(starmap(encode_entry, inline)))


def _in_shared_order(attributes: Iterable[Attribute]) -> list[Attribute]:
    """Sort descending: by name, then length of the value, then value."""
    return sorted(attributes, key=lambda item: (item[0], len(item[1]), item[1]), reverse=True)


@lru_cache(maxsize=1024)
def encode_name(name: bytes) -> EncodedName:
    """Return how a full attribute name is stored.

    The filter bit is xxh32's of the suffix, seeded with the index (Linux, fs/erofs/xattr.c).
    """
    matching = (item for item in NAME_PREFIXES.items() if name.startswith(item[1]))
    index, prefix = next(matching, (0, b""))
    suffix = name.removeprefix(prefix)
    return EncodedName(index, suffix, 1 << xxh32(suffix, _FILTER_SEED + index) % _FILTER_BITS)


def encode_entry(name: bytes, value: bytes) -> bytes:
    """Return one attribute entry, padded to the next word."""
    index, suffix, _ = encode_name(name)
    entry = XATTR_ENTRY.pack(len(suffix), index, len(value)) + suffix + value
    return entry + bytes(-len(entry) % XATTR_ALIGNMENT)
