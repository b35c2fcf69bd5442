"""The fixed part of an inode as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bootd.model.tree import Metadata
from bootd.store.erofs.layout import (
    COMPACT_INODE,
    DATA_LAYOUT_SHIFT,
    EXTENDED,
    EXTENDED_INODE,
    UINT16_MAX,
    UINT32_MAX,
    XATTR_ALIGNMENT,
    XATTR_HEADER,
)

if TYPE_CHECKING:
    from bootd.store.erofs.inodes import Inode

Time = tuple[int, int]
"""Seconds and nanoseconds."""

_XATTRS_BASE: Final = XATTR_HEADER.size - XATTR_ALIGNMENT


def is_compact(inode: Inode, oldest: Time) -> bool:
    """Return whether the small form holds an inode."""
    return (
        fits_compact(inode.metadata, oldest)
        and inode.links <= UINT16_MAX
        and inode.size <= UINT32_MAX
    )


def fits_compact(metadata: Metadata, oldest: Time) -> bool:
    """Return whether the small form holds metadata; all such have the mtime `oldest`."""
    return (
        metadata.mtime_seconds == oldest[0]
        and metadata.mtime_nanoseconds == oldest[1]
        and metadata.uid <= UINT16_MAX
        and metadata.gid <= UINT16_MAX
    )


def attributes_count(size: int) -> int:
    """Return how an inode tells the bytes of its attributes, 0 without any.

    The header counts as one, the rest in words: Linux, fs/erofs/erofs_fs.h, i_xattr_icount.
    """
    return (size - _XATTRS_BASE) // XATTR_ALIGNMENT if size else 0


def encode_inode(
    inode: Inode, number: int, *, compact: bool, layout: int, address: int, attributes_size: int
) -> bytes:
    """Return the bytes of an inode, without what stands behind it.

    Args:
        inode: which.
        number: its place among all inodes.
        compact: see `is_compact`.
        layout: its data layout.
        address: device number, chunk format or first block.
        attributes_size: the bytes of its attributes, 0 without any.
    """
    metadata = inode.metadata
    count = attributes_count(attributes_size)
    if compact:
        return COMPACT_INODE.pack(
            layout << DATA_LAYOUT_SHIFT,
            count,
            inode.mode,
            inode.links,
            inode.size,
            address,
            number,
            metadata.uid,
            metadata.gid,
        )
    return EXTENDED_INODE.pack(
        layout << DATA_LAYOUT_SHIFT | EXTENDED,
        count,
        inode.mode,
        inode.size,
        address,
        number,
        metadata.uid,
        metadata.gid,
        metadata.mtime_seconds,
        metadata.mtime_nanoseconds,
        inode.links,
    )
