"""Reads the structures of an image, one at a time, and refuses what composefs does not write.

Sources: as layout.py.
"""

from __future__ import annotations

from struct import unpack
from typing import Final, NamedTuple

from bootd.store.erofs.layout import (
    BLOCK,
    BLOCK_BITS,
    COMPACT_INODE,
    COMPOSEFS_FORMAT,
    COMPOSEFS_HEADER,
    COMPOSEFS_MAGIC,
    DATA_LAYOUT_SHIFT,
    DIRENT,
    EXTENDED,
    EXTENDED_INODE,
    FLAT_INLINE,
    FLAT_PLAIN,
    NAME_LIMIT,
    NANOSECONDS,
    SLOT,
    SUPERBLOCK,
    SUPERBLOCK_MAGIC,
    SUPERBLOCK_OFFSET,
    XATTR_ALIGNMENT,
    XATTR_ENTRY,
    XATTR_HEADER,
    round_up,
)
from bootd.store.erofs.window import Window
from bootd.store.erofs.xattrs import NAME_PREFIXES, Attribute

_NAME_OFFSET: Final = slice(8, 10)
_KNOWN_FORMAT_BITS: Final = 0xF
_PREFIXES: Final = {0: b"", **NAME_PREFIXES}


class Superblock(NamedTuple):
    """What the rest of the image is read by; places in bytes, time in seconds and nanoseconds."""

    root: int
    metadata: int
    shared_xattrs: int
    seconds: int
    nanoseconds: int


class StoredInode(NamedTuple):
    """An inode as stored; `xattrs` and `tail` are offsets in the image, `links` its names."""

    nid: int
    offset: int
    mode: int
    data_layout: int
    size: int
    address: int
    uid: int
    gid: int
    seconds: int
    nanoseconds: int
    xattrs: int
    xattrs_size: int

    @property
    def tail(self) -> int:
        """Where data behind the inode starts."""
        return self.xattrs + self.xattrs_size


class StoredEntry(NamedTuple):
    """A folder's entry: where its inode is and what type that is said to have."""

    nid: int
    file_type: int


def read_superblock(window: Window) -> Superblock:
    """Return the superblock.

    Raises:
        DamagedImageError: it is no composefs image of a known format, or cut short.
    """
    header = COMPOSEFS_HEADER.unpack(window.read(0, COMPOSEFS_HEADER.size))
    if header[:2] != (COMPOSEFS_MAGIC, COMPOSEFS_FORMAT):
        raise window.damaged("not a composefs image", 0)
    fields = SUPERBLOCK.unpack(window.read(SUPERBLOCK_OFFSET, SUPERBLOCK.size))
    magic, _, _, block_bits, _, root, _, seconds, nanoseconds, blocks = fields[:10]
    metadata, shared_xattrs, incompatible = fields[10:]
    if magic != SUPERBLOCK_MAGIC or block_bits != BLOCK_BITS or incompatible:
        raise window.damaged("not an EROFS superblock of composefs", SUPERBLOCK_OFFSET)
    if blocks << BLOCK_BITS != window.size:
        raise window.damaged(
            f"the image has {window.size} bytes and says {blocks} blocks", SUPERBLOCK_OFFSET
        )
    if nanoseconds >= NANOSECONDS:
        raise window.damaged("the time has more than a second of nanoseconds", SUPERBLOCK_OFFSET)
    return Superblock(
        root, metadata << BLOCK_BITS, shared_xattrs << BLOCK_BITS, seconds, nanoseconds
    )


def read_inode(window: Window, superblock: Superblock, nid: int) -> StoredInode:
    """Return the inode of a number.

    Raises:
        DamagedImageError: it is outside the image or not of a known form.
    """
    offset = superblock.metadata + nid * SLOT
    # Nearly all are of the large form; only at the end of an image a small one has less behind it.
    room = min(EXTENDED_INODE.size, max(COMPACT_INODE.size, window.size - offset))
    stored = window.read(offset, room)
    form = stored[0] | stored[1] << 8
    if form & EXTENDED:
        if room < EXTENDED_INODE.size:
            raise window.damaged(f"inode {nid} is cut short", offset)
        end = offset + EXTENDED_INODE.size
        _, count, mode, size, address, _, uid, gid, seconds, nanoseconds, _ = EXTENDED_INODE.unpack(
            stored
        )
    else:
        end = offset + COMPACT_INODE.size
        _, count, mode, _, size, address, _, uid, gid = COMPACT_INODE.unpack_from(stored)
        seconds, nanoseconds = superblock.seconds, superblock.nanoseconds
    if form > _KNOWN_FORMAT_BITS or nanoseconds >= NANOSECONDS:
        raise window.damaged(f"inode {nid} has the unknown form {form:#x}", offset)
    return StoredInode(
        nid,
        offset,
        mode,
        form >> DATA_LAYOUT_SHIFT,
        size,
        address,
        uid,
        gid,
        seconds,
        nanoseconds,
        end,
        XATTR_HEADER.size + XATTR_ALIGNMENT * (count - 1) if count else 0,
    )


def read_data(window: Window, inode: StoredInode) -> bytes:
    """Return the content of a folder or a link, or of a file that has none elsewhere.

    Raises:
        DamagedImageError: it is not laid out in blocks and a tail, or not inside the image.
    """
    if inode.data_layout not in (FLAT_PLAIN, FLAT_INLINE):
        raise window.damaged(f"inode {inode.nid} has no data of its own", inode.offset)
    tail_size = inode.size % BLOCK if inode.data_layout == FLAT_INLINE else 0
    data = b""
    if inode.size > tail_size:
        data = window.read(inode.address << BLOCK_BITS, inode.size - tail_size)
    return data + window.read(inode.tail, tail_size) if tail_size else data


def read_entries(window: Window, folder: StoredInode) -> dict[bytes, StoredEntry]:
    """Return a folder's entries, ``.`` and ``..`` among them, in byte order.

    Raises:
        DamagedImageError: a name is impossible or out of order, or the blocks are malformed.
    """
    data = read_data(window, folder)
    entries: dict[bytes, StoredEntry] = {}
    previous = b""
    for start in range(0, len(data), BLOCK):
        for name, entry in _block_entries(data[start : start + BLOCK]):
            if name <= previous or len(name) > NAME_LIMIT or b"/" in name or b"\0" in name:
                raise window.damaged(
                    f"folder {folder.nid} has the entry {name[:NAME_LIMIT]!r}", folder.offset
                )
            entries[name] = entry
            previous = name
    return entries


def _block_entries(block: bytes) -> list[tuple[bytes, StoredEntry]]:
    """Return the entries of one block; one that is malformed has an empty name."""
    first = int.from_bytes(block[_NAME_OFFSET], "little")
    if first % DIRENT.size or not 0 < first <= len(block):
        return [(b"", StoredEntry(0, 0))]
    fixed = list(DIRENT.iter_unpack(block[:first]))
    # The last name ends at the padding or with the block.
    ends = [offset for _, offset, _ in fixed[1:]]
    ends.append(len(block.rstrip(b"\0")))
    return [
        (block[offset:end], StoredEntry(nid, kind))
        for (nid, offset, kind), end in zip(fixed, ends, strict=True)
    ]


def read_attributes(
    window: Window, inode: StoredInode, shared: SharedEntries
) -> dict[bytes, bytes]:
    """Return an inode's attributes by full name, as stored.

    Raises:
        DamagedImageError: one is malformed, nameless or not inside the image.
    """
    if not inode.xattrs_size:
        return {}
    stored = window.read(inode.xattrs, inode.xattrs_size)
    _, count = XATTR_HEADER.unpack_from(stored)
    position = XATTR_HEADER.size + XATTR_ALIGNMENT * count
    if position > len(stored):
        raise window.damaged(f"inode {inode.nid} has {count} shared attributes", inode.offset)
    identifiers = unpack(f"<{count}I", stored[XATTR_HEADER.size : position])
    attributes = [shared.get(identifier) for identifier in identifiers]
    while position < len(stored):
        name_size, index, value_size = XATTR_ENTRY.unpack_from(stored, position)
        start = position + XATTR_ENTRY.size
        end = start + name_size
        position = round_up(end + value_size, XATTR_ALIGNMENT)
        if position > len(stored) or index not in _PREFIXES:
            raise window.damaged(f"inode {inode.nid} has a malformed attribute", inode.offset)
        attributes.append((_PREFIXES[index] + stored[start:end], stored[end : end + value_size]))
    named = dict(attributes)
    if len(named) < len(attributes) or not all(name and b"\0" not in name for name in named):
        raise window.damaged(
            f"inode {inode.nid} has two attributes of a name, or none", inode.offset
        )
    return named


class SharedEntries:
    """The shared attributes of an image, each read once."""

    def __init__(self, window: Window, start: int) -> None:
        self._window = window
        self._start = start
        self._entries: dict[int, Attribute] = {}

    def get(self, identifier: int) -> Attribute:
        """Return the attribute at a word of the shared area.

        Raises:
            DamagedImageError: there is none.
        """
        entry = self._entries.get(identifier)
        if entry is None:
            offset = self._start + identifier * XATTR_ALIGNMENT
            name_size, index, value_size = XATTR_ENTRY.unpack(
                self._window.read(offset, XATTR_ENTRY.size)
            )
            text = self._window.read(offset + XATTR_ENTRY.size, name_size + value_size)
            if index not in _PREFIXES:
                raise self._window.damaged("a shared attribute is malformed", offset)
            entry = (_PREFIXES[index] + text[:name_size], text[name_size:])
            self._entries[identifier] = entry
        return entry
