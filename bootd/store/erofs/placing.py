"""Where the inodes of an image go.

Inodes follow each other from the superblock on, each at a slot. An inode's tail never crosses a
block, so some have zeros before them; what is too long for a tail gets whole blocks behind all the
inodes. The rules are composefs 1.0.8's. Most inodes are files of which everything is known then;
these become bytes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bootd.model.tree import Symlink
from bootd.store.erofs import overlay
from bootd.store.erofs.encoding import Time, encode_inode, is_compact
from bootd.store.erofs.inodes import Inode
from bootd.store.erofs.layout import (
    BLOCK,
    CHUNK_BASED,
    COMPACT_INODE,
    DIRENT,
    EXTENDED_INODE,
    INODES_START,
    SLOT,
    round_up,
)
from bootd.store.erofs.xattrs import InodeAttributes, ObjectAttributes, SharedAttributes

FOLDER_TAIL_LIMIT: Final = BLOCK // 2
"""The last entries of a folder take a whole block when they are longer than this."""

Entries = list[tuple[bytes, Inode]]


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
) -> tuple[list[Place | bytes], int]:
    """Give every inode its place; return the places, or whole inodes, and where the last one ends.

    Args:
        inodes: in their order.
        shared: the attributes of the image.
        oldest: the earliest mtime; compact inodes have this one.
    """
    places: list[Place | bytes] = []
    alone = ObjectAttributes()
    position = INODES_START
    for number, inode in enumerate(inodes):
        verity = inode.object
        if verity is not None and not inode.attributes and verity not in shared.objects:
            whole = _whole_file(inode, number, verity, alone, position, oldest)
            places.append(whole)
            position += len(whole)
            continue
        place = _measure(inode, shared, oldest)
        start = round_up(position, SLOT)
        head = (COMPACT_INODE if place.compact else EXTENDED_INODE).size + place.attributes.size
        start += _tail_padding(place, start, head)
        place.padding = start - position
        inode.nid = start // SLOT
        places.append(place)
        position = start + head + place.tail_size
    return places, round_up(position, SLOT)


def _whole_file(  # noqa: PLR0917 - called for every file
    inode: Inode,
    number: int,
    verity: bytes,
    alone: ObjectAttributes,
    position: int,
    oldest: Time,
) -> bytes:
    """Return a file as bytes, from the padding before it to its tail, and set its `nid`."""
    compact = is_compact(inode, oldest)
    attributes = alone.encode(verity)
    size = (COMPACT_INODE if compact else EXTENDED_INODE).size + len(attributes)
    start = round_up(position, SLOT)
    start += _room_padding(len(inode.tail), start + size)
    inode.nid = start // SLOT
    head = encode_inode(
        inode,
        number,
        compact=compact,
        layout=CHUNK_BASED,
        address=inode.address,
        attributes_size=len(attributes),
    )
    return b"".join((bytes(start - position), head, attributes, inode.tail))


def _measure(inode: Inode, shared: SharedAttributes, oldest: Time) -> Place:
    blocks = 0
    tail_size = len(inode.tail)
    folded: Sequence[Entries] = ()
    if inode.entries is not None:
        folded, tail_size = fold(inode.entries)
        blocks = len(folded) - (tail_size > 0)
        inode.size = blocks * BLOCK + tail_size
    attributes = inode.attributes
    if inode.object is not None and not attributes:
        attributes = list(overlay.object_attributes(inode.object).items())
    stored = shared.split(attributes)
    inode.attributes = ()
    return Place(inode, 0, is_compact(inode, oldest), stored, tail_size, blocks, folded)


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
    return _room_padding(place.tail_size, start + head)


def _room_padding(tail_size: int, tail: int) -> int:
    """Return the zeros before an inode whose tail would begin at `tail`, so that it fits."""
    # Always enough: no other tail is longer than BLOCK - SLOT.
    room = BLOCK - tail % BLOCK
    return round_up(room, SLOT) if room < tail_size else 0
