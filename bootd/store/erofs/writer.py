"""Writes a tree as the EROFS image that ``mkcomposefs`` 1.0.8 writes for it.

The image is header, superblock, inodes, shared attributes, then whole blocks of data in the order
of their inodes. Sources: as layout.py; the order is composefs 1.0.8's.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, Final

from bootd.model.tree import Directory
from bootd.store.erofs import overlay
from bootd.store.erofs.encoding import Time, encode_inode
from bootd.store.erofs.inodes import Inode, tree_inodes
from bootd.store.erofs.layout import (
    BLOCK,
    BLOCK_BITS,
    CHUNK_BASED,
    COMPOSEFS_FORMAT,
    COMPOSEFS_HAS_ACL,
    COMPOSEFS_HEADER,
    COMPOSEFS_MAGIC,
    DIRENT,
    FEATURE_MTIME,
    FEATURE_XATTR_FILTER,
    FILE_TYPES,
    FLAT_INLINE,
    INODES_START,
    SUPERBLOCK,
    SUPERBLOCK_MAGIC,
    SUPERBLOCK_OFFSET,
    XATTR_ALIGNMENT,
    round_up,
)
from bootd.store.erofs.placing import Entries, Place, place_inodes
from bootd.store.erofs.xattrs import SharedAttributes

_ACL_NAMES: Final = {b"system.posix_acl_access", b"system.posix_acl_default"}
_PIECES_AT_ONCE: Final = 16_384


def write_erofs(root: Directory, output: BinaryIO) -> int:
    """Write the image of a tree to a binary file and return its length in bytes.

    Raises:
        InvalidTreeError: see `encode_erofs`; nothing was written.
    """
    return sum(output.write(piece) for piece in encode_erofs(root))


def encode_erofs(root: Directory) -> Iterator[bytes]:
    """Yield the pieces of a tree's image.

    The tree's dump (`bootd.store.dumpfile`) given to ``mkcomposefs --from-file`` makes the same
    image. Folders have one name each, other nodes one or more.

    Raises:
        InvalidTreeError: the tree holds what the format or ``mkcomposefs`` cannot; raised before
            the first piece.
    """
    inodes = tree_inodes(root)
    shared = SharedAttributes(
        (inode.attributes for inode in inodes if inode.attributes),
        (inode.object for inode in inodes if inode.object is not None),
    )
    oldest = min(
        (inode.metadata.mtime_seconds, inode.metadata.mtime_nanoseconds) for inode in inodes
    )
    has_acl = any(name in _ACL_NAMES for inode in inodes for name, _ in inode.attributes)
    places, inodes_end = place_inodes(inodes, shared, oldest)
    data_start = round_up(inodes_end + len(shared.area), BLOCK)
    blocks = data_start // BLOCK + sum(place.blocks for place in _unfinished(places))
    yield _head(inodes, oldest, inodes_end, blocks, has_acl=has_acl)
    first_word = inodes_end % BLOCK // XATTR_ALIGNMENT
    position = INODES_START
    for piece in _joined(_encode_inodes(places, first_word, data_start // BLOCK)):
        yield piece
        position += len(piece)
    yield bytes(inodes_end - position)
    yield shared.area + bytes(data_start - inodes_end - len(shared.area))
    yield from _joined(_data(place) for place in _unfinished(places) if place.blocks)


def _unfinished(places: list[Place | bytes]) -> Iterator[Place]:
    return (place for place in places if type(place) is Place)


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces worth a write, without ever holding them all."""
    while batch := b"".join(islice(pieces, _PIECES_AT_ONCE)):
        yield batch


def _head(
    inodes: list[Inode], oldest: Time, inodes_end: int, blocks: int, *, has_acl: bool
) -> bytes:
    """Return header and superblock."""
    version = int(any(overlay.is_whiteout(inode.node) for inode in inodes))
    header = COMPOSEFS_HEADER.pack(
        COMPOSEFS_MAGIC,
        COMPOSEFS_FORMAT,
        COMPOSEFS_HAS_ACL if has_acl else 0,
        version,
    )
    superblock = SUPERBLOCK.pack(
        SUPERBLOCK_MAGIC,
        0,
        FEATURE_MTIME | FEATURE_XATTR_FILTER,
        BLOCK_BITS,
        0,
        inodes[0].nid,
        len(inodes),
        oldest[0],
        oldest[1],
        blocks,
        0,
        inodes_end // BLOCK,
        0,
    )
    return header.ljust(SUPERBLOCK_OFFSET, b"\0") + superblock


def _encode_inodes(places: list[Place | bytes], first_word: int, block: int) -> Iterator[bytes]:
    """Yield the inodes with padding, attributes and tails.

    Args:
        places: the inodes in their order.
        first_word: where the shared attributes start in their block, in words.
        block: the first block of data.
    """
    for number, place in enumerate(places):
        if type(place) is bytes:
            yield place
            continue
        assert type(place) is Place
        yield bytes(place.padding)
        yield _encode_inode(place, number, block)
        block += place.blocks
        if place.attributes.size:
            yield place.attributes.encode(first_word)
        if place.tail_size:
            yield _encode_entries(place.folded[-1]) if place.folded else place.inode.tail


def _encode_inode(place: Place, number: int, block: int) -> bytes:
    inode = place.inode
    layout = inode.data_layout
    if layout != CHUNK_BASED and place.tail_size:
        layout = FLAT_INLINE
    return encode_inode(
        inode,
        number,
        compact=place.compact,
        layout=layout,
        address=block if place.blocks else inode.address,
        attributes_size=place.attributes.size,
    )


def _data(place: Place) -> bytes:
    if place.folded:
        contents = [_encode_entries(entries) for entries in place.folded[: place.blocks]]
    else:
        contents = [place.inode.tail]
    return b"".join(content.ljust(BLOCK, b"\0") for content in contents)


def _encode_entries(entries: Entries) -> bytes:
    """Return a block of a folder: the fixed parts, then the names."""
    offset = len(entries) * DIRENT.size
    fixed = []
    for name, inode in entries:
        fixed.append(DIRENT.pack(inode.nid, offset, FILE_TYPES[stat.S_IFMT(inode.mode)]))
        offset += len(name)
    return b"".join(fixed) + b"".join(name for name, _ in entries)
