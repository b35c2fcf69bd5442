"""Numbers and structures of the EROFS on-disk format, as far as composefs uses it.

All integers are little-endian. Source: Linux, Documentation/filesystems/erofs.rst, "On-disk
details", and fs/erofs/erofs_fs.h; the header before the superblock is composefs 1.0.8's own.
"""

from __future__ import annotations

import stat
from struct import Struct
from typing import Final

BLOCK_BITS: Final = 12
BLOCK: Final = 1 << BLOCK_BITS
SLOT: Final = 32
"""Inodes start at multiples of this; an inode's number (nid) is its offset in slots."""

COMPOSEFS_MAGIC: Final = 0xD078629A
COMPOSEFS_FORMAT: Final = 1
COMPOSEFS_HAS_ACL: Final = 1 << 0
COMPOSEFS_HEADER: Final = Struct("<IIII16x")
"""magic, format, flags, composefs version (0 or 1, and 1 when the tree has whiteouts)."""

SUPERBLOCK_OFFSET: Final = 1024
SUPERBLOCK_MAGIC: Final = 0xE0F5E1E2
FEATURE_MTIME: Final = 1 << 1
FEATURE_XATTR_FILTER: Final = 1 << 2
SUPERBLOCK: Final = Struct("<IIIBBHQqIIII32xI44x")
"""magic, checksum, compatible features, block bits, extra slots, root nid, inodes, build time
(seconds, nanoseconds), blocks, metadata block, shared xattr block, incompatible features."""

INODES_START: Final = SUPERBLOCK_OFFSET + SUPERBLOCK.size

COMPACT_INODE: Final = Struct("<HHHHI4xIIHH4x")
"""format, xattr count, mode, links, size, address, number, uid, gid."""
EXTENDED_INODE: Final = Struct("<HHH2xQIIIIqII16x")
"""format, xattr count, mode, size, address, number, uid, gid, mtime, nanoseconds, links."""
EXTENDED: Final = 1
"""Bit of an inode's format: the inode is an extended one."""
DATA_LAYOUT_SHIFT: Final = 1
FLAT_PLAIN: Final = 0
FLAT_INLINE: Final = 2
CHUNK_BASED: Final = 4

CHUNK_BITS_LIMIT: Final = 31 + BLOCK_BITS
CHUNK_ADDRESS: Final = 4
NULL_CHUNK: Final = b"\xff" * CHUNK_ADDRESS
"""Address of a chunk that is a hole."""

DIRENT: Final = Struct("<QHBx")
"""nid, name offset in the block, file type."""

XATTR_HEADER: Final = Struct("<IB7x")
"""name filter, number of shared attributes."""
XATTR_ENTRY: Final = Struct("<BBH")
"""name length, name index, value size."""
XATTR_ALIGNMENT: Final = 4

FILE_TYPES: Final = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFSOCK: 6,
    stat.S_IFLNK: 7,
}
"""A directory entry's file type by the ``S_IFMT`` bits of the inode."""

NAME_LIMIT: Final = 255
TARGET_LIMIT: Final = 4095
"""Longest symbolic link target in bytes (Linux, ``PATH_MAX`` without its final NUL)."""
UINT16_MAX: Final = 0xFFFF
UINT32_MAX: Final = 0xFFFF_FFFF
NANOSECONDS: Final = 1_000_000_000
XATTRS_LIMIT: Final = 0x7FFF
"""Room for an inode's extended attributes in mkcomposefs, counted as `xattrs_room` does."""
_XATTR_COST: Final = 7
_XATTRS_COST: Final = 12


def round_up(number: int, alignment: int) -> int:
    """Return the next multiple of a power of two."""
    return (number + alignment - 1) & -alignment


def xattrs_room(xattrs: dict[bytes, bytes]) -> int:
    """Return how many bytes extended attributes take of `XATTRS_LIMIT`."""
    return _XATTRS_COST + sum(
        _XATTR_COST + len(name) + len(value) for name, value in xattrs.items()
    )
