"""Extended attributes on disk: name indexes, the name filter, entries, sharing.

An attribute that more than one inode carries with the same value is stored once, in the shared
area, and the inodes name it by its 4-byte word there. Source: Linux, fs/erofs/xattr.h and
erofs_fs.h; the order of the shared area and what is shared are composefs 1.0.8's choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from struct import pack
from typing import Final, NamedTuple

from bootd.model.hash_algorithm import HashAlgorithm
from bootd.store.erofs import overlay
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

_COUNTED_APART: Final = frozenset({overlay.METACOPY, overlay.REDIRECT, overlay.SELINUX})
_FILTER_SEED: Final = 0x25BBE08F
_FILTER_ALL: Final = 0xFFFF_FFFF
_FILTER_BITS: Final = 32


class _Frame(NamedTuple):
    """What an entry has around its value, and the name's bit of the filter."""

    filter_bit: int
    before: bytes
    after: bytes


class InodeAttributes(NamedTuple):
    """What one inode stores of its attributes.

    `size` is in bytes, 0 without attributes; `present` has the filter bits of the names; `shared`
    are offsets, in words, from the start of the shared area.
    """

    size: int
    present: int
    shared: tuple[int, ...]
    inline: bytes

    def encode(self, first_word: int) -> bytes:
        """Return the bytes behind the inode; `first_word` is the shared area's in its block."""
        # In the filter on disk a bit says that no name with it is there.
        header = XATTR_HEADER.pack(_FILTER_ALL & ~self.present, len(self.shared))
        if not self.shared:
            return header + self.inline
        identifiers = (first_word + word for word in self.shared)
        return header + pack(f"<{len(self.shared)}I", *identifiers) + self.inline


_NO_ATTRIBUTES: Final = InodeAttributes(0, 0, (), b"")


class SharedAttributes:
    """The attributes that several inodes of one image have in common.

    Args:
        inodes: the attributes of every inode of the image; those that name an object need not be
            among them.
        objects: those that several inodes name.
        labels: the SELinux labels that several inodes of the image have.
    """

    def __init__(
        self,
        inodes: Iterable[Iterable[Attribute]],
        objects: Collection[bytes] = (),
        labels: Iterable[bytes] = (),
    ) -> None:
        uses = Counter(one for one in chain.from_iterable(inodes) if one[0] not in _COUNTED_APART)
        shared = [attribute for attribute, count in uses.items() if count > 1]
        shared += ((overlay.SELINUX, label) for label in labels)
        for verity in objects:
            shared += overlay.object_attributes(verity).items()
        self._words: dict[Attribute, int] = {}
        entries = []
        offset = 0
        for attribute in _in_shared_order(shared):
            self._words[attribute] = offset // XATTR_ALIGNMENT
            entry = encode_entry(*attribute)
            entries.append(entry)
            offset += len(entry)
        self.area = b"".join(entries)
        """The bytes of the shared area."""
        self.object_words = {
            verity: tuple(map(self._words.__getitem__, overlay.object_attributes(verity).items()))
            for verity in objects
        }
        """Where the two attributes of an object are, in words from the start of that area."""
        self.label_words = {
            label: (self._words[overlay.SELINUX, label],)
            for name, label in self._words
            if name == overlay.SELINUX
        }
        """Where a label is, the same way."""

    def split(self, attributes: Sequence[Attribute]) -> InodeAttributes:
        """Divide an inode's attributes, sorted by name, into shared and inline ones."""
        if not attributes:
            return _NO_ATTRIBUTES
        present = 0
        shared: list[int] = []
        inline: list[bytes] = []
        for attribute in attributes:
            name, value = attribute
            filter_bit, before, after = _frame(name, len(value))
            present |= filter_bit
            word = self._words.get(attribute)
            if word is None or len(shared) == SHARED_LIMIT:
                inline += before, value, after
            else:
                shared.append(word)
        entries = b"".join(inline)
        size = XATTR_HEADER.size + XATTR_ALIGNMENT * len(shared) + len(entries)
        return InodeAttributes(size, present, tuple(shared), entries)


class ObjectAttributes:
    """The attributes of a file that has only those that name its object, and perhaps a label.

    Args:
        algorithm: made the object's digest.
        labelled: it has one, which it shares with other files.

    Attributes:
        before_digest, before_path, after_path: what stands around the object's digest and path;
            where a shared attribute's word is to be there are zeros.
        size: how many bytes they take.
        before_words: what stands before the words where all attributes are shared.
        words: how many these are.
    """

    def __init__(self, algorithm: HashAlgorithm, *, labelled: bool = False) -> None:
        any_object = bytes(algorithm.digest_size)
        some = overlay.object_attributes(any_object)
        frames = [_frame(name, len(value)) for name, value in some.items()]
        bits = frames[0].filter_bit | frames[1].filter_bit
        if labelled:
            bits |= _frame(overlay.SELINUX, 0).filter_bit
        self.words: int = len(frames) + labelled
        header = XATTR_HEADER.pack(_FILTER_ALL & ~bits, labelled)
        self.before_words: bytes = XATTR_HEADER.pack(_FILTER_ALL & ~bits, self.words)
        header += bytes(XATTR_ALIGNMENT * labelled)
        self.before_digest: bytes = header + frames[0].before + overlay.metacopy_header(algorithm)
        self.before_path: bytes = frames[0].after + frames[1].before + overlay.OBJECTS_ROOT
        self.after_path: bytes = frames[1].after
        self._digest_size = algorithm.digest_size
        self.size: int = len(self.encode(any_object))

    def decode(self, stored: bytes) -> bytes | None:
        """Return the object that bytes name, or None if they are not what `encode` makes of it."""
        start = len(self.before_digest)
        verity = stored[start : start + self._digest_size]
        return verity if stored == self.encode(verity) else None

    def encode(self, verity: bytes) -> bytes:
        """Return the bytes behind the inode."""
        path = overlay.object_path(verity)
        return b"".join((self.before_digest, verity, self.before_path, path, self.after_path))


def _in_shared_order(attributes: Iterable[Attribute]) -> list[Attribute]:
    """Sort descending: by name, then length of the value, then value."""
    return sorted(attributes, key=lambda item: (item[0], len(item[1]), item[1]), reverse=True)


def encode_entry(name: bytes, value: bytes) -> bytes:
    """Return one attribute entry, padded to the next word."""
    _, before, after = _frame(name, len(value))
    return before + value + after


@lru_cache(maxsize=4096)
def _frame(name: bytes, value_size: int) -> _Frame:
    """Return what stands around a value of a full attribute name.

    The filter bit is xxh32's of the suffix, seeded with the index (Linux, fs/erofs/xattr.c).
    """
    matching = (item for item in NAME_PREFIXES.items() if name.startswith(item[1]))
    index, prefix = next(matching, (0, b""))
    suffix = name.removeprefix(prefix)
    before = XATTR_ENTRY.pack(len(suffix), index, value_size) + suffix
    return _Frame(
        1 << xxh32(suffix, _FILTER_SEED + index) % _FILTER_BITS,
        before,
        bytes(-(len(before) + value_size) % XATTR_ALIGNMENT),
    )
