"""Where the inodes of an image go.

Inodes follow each other from the superblock on, each at a slot. An inode's tail never crosses a
block, so some have zeros before them; what is too long for a tail gets whole blocks behind all the
inodes. The rules are composefs 1.0.8's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bootd.model.tree import Symlink
from bootd.store.erofs.inodes import Inode
from bootd.store.erofs.layout import (
    BLOCK,
    COMPACT_INODE,
    DIRENT,
    EXTENDED_INODE,
    INODES_START,
    SLOT,
    UINT16_MAX,
    UINT32_MAX,
    round_up,
)
from bootd.store.erofs.xattrs import InodeAttributes, SharedAttributes

FOLDER_TAIL_LIMIT: Final = BLOCK // 2
"""The last entries of a folder take a whole block when they are longer than this."""

Entries = list[tuple[bytes, Inode]]
Time = tuple[int, int]
"""Seconds and nanoseconds."""


@dataclass(slots=True, eq=False)
class Place:
    """An inode with what its place depends on.

    Attributes:
        inode: it; its `nid` is set.
        padding: zeros before it.
        compact: the small form holds it.
        attributes: what it stores of its attributes.
        tail_size: bytes behind inode and attributes.
        blocks: whole blocks of data.
        folded: a folder's entries, by block; those in the tail are the last.
    """

    inode: Inode
    padding: int
    compact: bool
    attributes: InodeAttributes
    tail_size: int
    blocks: int
    folded: Sequence[Entries]


def place_inodes(
    inodes: list[Inode], shared: SharedAttributes, oldest: Time
) -> tuple[list[Place], int]:
    """Give every inode its place and return the places and where the last one ends.

    Args:
        inodes: in their order.
        shared: the attributes of the image.
        oldest: the earliest mtime; compact inodes have this one.
    """
    places = []
    position = INODES_START
    for inode in inodes:
        place = _measure(inode, shared, oldest)
        start = round_up(position, SLOT)
        head = (COMPACT_INODE if place.compact else EXTENDED_INODE).size + place.attributes.size
        start += _tail_padding(place, start, head)
        place.padding = start - position
        inode.nid = start // SLOT
        places.append(place)
        position = start + head + place.tail_size
    return places, round_up(position, SLOT)


def _measure(inode: Inode, shared: SharedAttributes, oldest: Time) -> Place:
    blocks = 0
    tail_size = len(inode.tail)
    folded: Sequence[Entries] = ()
    if inode.entries is not None:
        folded, tail_size = fold(inode.entries)
        blocks = len(folded) - (tail_size > 0)
        inode.size = blocks * BLOCK + tail_size
    metadata = inode.metadata
    compact = (
        (metadata.mtime_seconds, metadata.mtime_nanoseconds) == oldest
        and metadata.uid <= UINT16_MAX
        and metadata.gid <= UINT16_MAX
        and inode.links <= UINT16_MAX
        and inode.size <= UINT32_MAX
    )
    attributes = shared.split(inode.attributes)
    inode.attributes = ()
    return Place(inode, 0, compact, attributes, tail_size, blocks, folded)


def fold(entries: Entries) -> tuple[list[Entries], int]:
    """Divide a folder's entries into blocks; return these and the bytes of the last if a tail."""
    folded = []
    first = size = 0
    for number, (name, _) in enumerate(entries):
        length = DIRENT.size + len(name)
        if size + length > BLOCK:
            folded.append(entries[first:number])
            first, size = number, 0
        size += length
    folded.append(entries[first:])
    return folded, size if size <= FOLDER_TAIL_LIMIT else 0


def _tail_padding(place: Place, start: int, head: int) -> int:
    """Return the zeros that keep a tail inside a block; may move a link's target to a block."""
    if isinstance(place.inode.node, Symlink):
        end = start + head + place.tail_size
        if head + place.tail_size >= BLOCK:
            place.tail_size, place.blocks = 0, 1
        # A link keeps inode, attributes and target in one block, not only the target.
        return -start % BLOCK if start // BLOCK != (end - 1) // BLOCK else 0
    room = BLOCK - (start + head) % BLOCK
    # Always enough: no other tail is longer than BLOCK - SLOT.
    return round_up(room, SLOT) if room < place.tail_size else 0
