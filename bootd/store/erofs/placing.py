"""Where the inodes of an image go.

Inodes follow each other from the superblock on, each at a slot. An inode's tail never crosses a
block, so some have zeros before them; what is too long for a tail gets whole blocks behind all the
inodes. The rules are composefs 1.0.8's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from bootd.model.tree import RegularFile, Symlink
from bootd.store.erofs.encoding import Time, is_compact
from bootd.store.erofs.inodes import Inode
from bootd.store.erofs.layout import (
    BLOCK,
    COMPACT_INODE,
    DIRENT,
    EXTENDED_INODE,
    INODES_START,
    SLOT,
    round_up,
)
from bootd.store.erofs.numbering import NumberedFolder, NumberedTree
from bootd.store.erofs.overlay import SELINUX
from bootd.store.erofs.plain_files import PlainFiles
from bootd.store.erofs.xattrs import InodeAttributes, SharedAttributes

FOLDER_TAIL_LIMIT: Final = BLOCK // 2
"""The last entries of a folder take a whole block when they are longer than this."""

Entries = tuple[list[bytes], list[int]]
"""Names, and the numbers of their inodes."""


@dataclass(slots=True, eq=False)
class Place:
    """An inode with what its place depends on.

    Attributes:
        inode: it.
        number: its place among all inodes.
        start: where it is, in bytes from the first one.
        compact: the small form holds it.
        attributes: what it stores of its attributes.
        tail_size: bytes behind inode and attributes.
        blocks: whole blocks of data.
        folded: a folder's entries, by block; those in the tail are the last.
    """

    inode: Inode
    number: int
    start: int
    compact: bool
    attributes: InodeAttributes
    tail_size: int
    blocks: int
    folded: Sequence[Entries]


@dataclass(slots=True)
class Placed:
    """All inodes of an image in their places.

    Attributes:
        area: their bytes, from `INODES_START` on, up to a whole slot; those of plain files, and
            zeros for the others.
        shared_words: where in it the words of a plain file's shared attributes are missing, and
            which these are, from the start of the shared area.
        places: the others.
        slots: where each inode is, in slots: its nid, by number.
    """

    area: bytearray
    shared_words: list[tuple[int, tuple[int, ...]]]
    places: list[Place]
    slots: list[int]

    @property
    def end(self) -> int:
        """Where the last one ends."""
        return INODES_START + len(self.area)


def place_inodes(
    tree: NumberedTree,
    plain_files: PlainFiles,
    inodes: dict[int, Inode],
    shared: SharedAttributes,
    oldest: Time,
) -> Placed:
    """Give every inode its place.

    Args:
        tree: the nodes.
        plain_files: makes the inodes of those that are not among `inodes`.
        inodes: those of the others, by number.
        shared: the attributes of the image.
        oldest: the earliest mtime; compact inodes have this one.
    """
    area = bytearray()
    shared_words: list[tuple[int, tuple[int, ...]]] = []
    places: list[Place] = []
    slots: list[int] = []
    object_words, label_words = shared.object_words, shared.label_words
    for number, node in enumerate(tree.nodes):
        inode = inodes.get(number)
        if inode is None:
            # Whole slots, and an inode that ends with one word crosses no block with that.
            assert type(node) is RegularFile
            assert node.verity is not None
            slots.append((INODES_START + len(area)) // SLOT)
            words = object_words.get(node.verity)
            label = label_words[node.metadata.xattrs[SELINUX]] if node.metadata.xattrs else ()
            if words is not None:
                whole, place_of_words = plain_files.encode_shared(node, number)
                shared_words.append((len(area) + place_of_words, label + words))
                area += whole
                continue
            if label:
                shared_words.append((len(area) + plain_files.label_place(node), label))
            area += plain_files.encode(node, number)
            continue
        place = _measure(inode, number, shared, oldest)
        head = (COMPACT_INODE if place.compact else EXTENDED_INODE).size + place.attributes.size
        start = INODES_START + len(area)
        start += _tail_padding(place, start, head)
        place.start = start - INODES_START
        slots.append(start // SLOT)
        places.append(place)
        area += bytes(round_up(start + head + place.tail_size, SLOT) - INODES_START - len(area))
    return Placed(area, shared_words, places, slots)


def _measure(inode: Inode, number: int, shared: SharedAttributes, oldest: Time) -> Place:
    blocks = 0
    tail_size = len(inode.tail)
    folded: Sequence[Entries] = ()
    if inode.folder is not None:
        folded, tail_size = fold(inode.folder)
        blocks = len(folded) - (tail_size > 0)
        inode.size = blocks * BLOCK + tail_size
    stored = shared.split(inode.attributes)
    compact = is_compact(inode, oldest)
    return Place(inode, number, 0, compact, stored, tail_size, blocks, folded)


def fold(folder: NumberedFolder) -> tuple[list[Entries], int]:
    """Divide a folder's entries into blocks; return these and the bytes of the last if a tail."""
    names, numbers = folder.names, folder.numbers
    size = DIRENT.size * len(names) + sum(map(len, names))
    if size <= BLOCK:
        return [(names, numbers)], size if size <= FOLDER_TAIL_LIMIT else 0
    starts = [0]
    size = 0
    for number, name in enumerate(names):
        length = DIRENT.size + len(name)
        if size + length > BLOCK:
            starts.append(number)
            size = 0
        size += length
    starts.append(len(names))
    folded = [(names[start:end], numbers[start:end]) for start, end in pairwise(starts)]
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
