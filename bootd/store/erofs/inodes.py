"""From a numbered tree to the inodes of its image: what they hold, not yet where.

Nearly all are files that carry nothing but the name of their object; those stand aside
(`bootd.store.erofs.plain_files`).
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bootd.model.errors import InvalidTreeError
from bootd.model.tree import (
    INLINE_LIMIT,
    Metadata,
    Node,
    RegularFile,
    SpecialFile,
    Symlink,
    file_type,
)
from bootd.store.erofs import overlay
from bootd.store.erofs.layout import (
    BLOCK_BITS,
    CHUNK_BASED,
    CHUNK_BITS_LIMIT,
    FLAT_PLAIN,
    NAME_LIMIT,
    NANOSECONDS,
    NULL_CHUNK,
    TARGET_LIMIT,
    UINT32_MAX,
    XATTRS_LIMIT,
    xattrs_room,
)
from bootd.store.erofs.numbering import HidingWhiteout, NumberedFolder, NumberedTree
from bootd.store.erofs.plain_files import PlainFiles
from bootd.store.erofs.xattrs import Attribute

CHUNKS_LIMIT: Final = 1016
"""Most chunks a file may have: more do not fit behind an inode, and composefs 1.0.8 then writes
what no kernel reads. The limit is above 8 PB."""
_INT64_LIMIT: Final = 1 << 63
_PERMISSIONS: Final = 0o7777
_SPECIAL_TYPES: Final = {stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}


@dataclass(slots=True, eq=False)
class Inode:
    """An inode to be written.

    Attributes:
        node: what it stands for.
        tail: what stands behind it: a link's target, a small file's content, a large one's chunks.
        address: the device number or chunk format; the writer sets it for data in blocks.
        folder: what is in it; None: no folder.
        object: the digest of the object that holds its content.
        attributes: as stored, sorted by name.
    """

    node: Node | HidingWhiteout
    mode: int
    metadata: Metadata
    links: int = 1
    size: int = 0
    data_layout: int = FLAT_PLAIN
    tail: bytes = b""
    address: int = 0
    folder: NumberedFolder | None = None
    object: bytes | None = None
    attributes: Sequence[Attribute] = ()


def tree_inodes(tree: NumberedTree, plain_files: PlainFiles) -> dict[int, Inode]:
    """Return the inodes of a tree's image, but for those of plain files, by number.

    Raises:
        InvalidTreeError: a number or size that the format cannot hold; a file whose size, content
            and digest do not fit.
    """
    links, is_plain = tree.links, plain_files.is_plain
    return {
        number: _inode(tree, number, node, plain_files.digest_size)
        for number, node in enumerate(tree.nodes)
        if type(node) is not RegularFile or id(node) in links or not is_plain(node)
    }


def check_metadata(name: bytes, metadata: Metadata) -> None:
    """Refuse mode, owner and time that no inode can have.

    Raises:
        InvalidTreeError: they are such.
    """
    if not (
        0 <= metadata.permissions <= _PERMISSIONS
        and 0 <= metadata.uid <= UINT32_MAX
        and 0 <= metadata.gid <= UINT32_MAX
        and -_INT64_LIMIT <= metadata.mtime_seconds < _INT64_LIMIT
        and 0 <= metadata.mtime_nanoseconds < NANOSECONDS
    ):
        raise InvalidTreeError(f"{name!r} has mode, owner or time out of range: {metadata}")


def check_xattrs(file: bytes, xattrs: dict[bytes, bytes]) -> None:
    """Refuse extended attributes that no inode can have.

    Raises:
        InvalidTreeError: a name is impossible, or they take more than `XATTRS_LIMIT` together; the
            file is named.
    """
    for name in xattrs:
        if not 0 < len(name) <= NAME_LIMIT or b"\0" in name:
            raise InvalidTreeError(
                f"{file[:50]!r} has an extended attribute with the impossible name {name[:20]!r}"
            )
    room = xattrs_room(xattrs)
    if room > XATTRS_LIMIT:
        raise InvalidTreeError(
            f"{file[:50]!r} has {room} bytes of extended attributes, more than {XATTRS_LIMIT}"
        )


def _inode(tree: NumberedTree, number: int, node: Node | HidingWhiteout, digest_size: int) -> Inode:
    metadata = node.metadata
    if isinstance(node, HidingWhiteout):
        inode = Inode(node, stat.S_IFCHR | metadata.permissions, metadata)
    else:
        inode = Inode(node, file_type(node) | metadata.permissions, metadata)
        _add_content(inode, tree.names[number], node, digest_size)
    link = tree.links.get(id(node))
    if link is not None:
        inode.links = link.names
    inode.folder = tree.folders.get(number)
    if inode.folder is not None:
        inode.links = 2 + inode.folder.folders
    if metadata.xattrs or type(node) is not RegularFile or inode.object is not None:
        inode.attributes = _attributes(inode, tree.names[number], is_root=not number)
    return inode


def _add_content(inode: Inode, name: bytes, node: Node, digest_size: int) -> None:
    match node:
        case RegularFile():
            _add_bytes(inode, name, node, digest_size)
        case Symlink():
            if not 0 < len(node.target) <= TARGET_LIMIT or b"\0" in node.target:
                raise InvalidTreeError(f"{name!r} cannot link to {node.target[:300]!r}")
            inode.size = len(node.target)
            inode.tail = node.target
        case SpecialFile():
            _add_device(inode, name, node)
        case _:
            pass


def _add_bytes(inode: Inode, name: bytes, node: RegularFile, digest_size: int) -> None:
    inode.size = node.size
    if node.content is not None:
        if not len(node.content) == node.size <= INLINE_LIMIT:
            raise InvalidTreeError(
                f"{name!r} has {node.size} bytes and carries {len(node.content)} of"
                f" at most {INLINE_LIMIT}"
            )
        inode.tail = node.content
    elif node.verity is not None and len(node.verity) == digest_size and node.size > 0:
        inode.object = node.verity
        chunk_bits = min(max((node.size - 1).bit_length(), BLOCK_BITS), CHUNK_BITS_LIMIT)
        chunks = -(-node.size >> chunk_bits)
        if chunks > CHUNKS_LIMIT:
            raise InvalidTreeError(f"{name!r} has {node.size} bytes, more than composefs can hold")
        inode.data_layout = CHUNK_BASED
        inode.address = chunk_bits - BLOCK_BITS
        inode.tail = NULL_CHUNK * chunks
    else:
        raise InvalidTreeError(f"{name!r} has {node.size} bytes, but no content and no object")


def _add_device(inode: Inode, name: bytes, node: SpecialFile) -> None:
    if stat.S_IFMT(node.file_type) != node.file_type or node.file_type not in _SPECIAL_TYPES:
        raise InvalidTreeError(f"{name!r} has the unknown file type {node.file_type:#o}")
    if node.file_type in {stat.S_IFCHR, stat.S_IFBLK}:
        if not 0 <= node.rdev <= UINT32_MAX:
            raise InvalidTreeError(f"{name!r} has the device number {node.rdev}")
        inode.address = node.rdev
    if overlay.is_whiteout(node):
        inode.mode = stat.S_IFREG | stat.S_IMODE(inode.mode)


def _attributes(inode: Inode, name: bytes, *, is_root: bool) -> list[Attribute]:
    """Return what an inode stores, sorted: the tree's own attributes and those for overlayfs."""
    xattrs: dict[bytes, bytes] = {}
    if inode.metadata.xattrs:
        check_xattrs(name, inode.metadata.xattrs)
        xattrs = overlay.escape(inode.metadata.xattrs)
    if inode.object is not None:
        xattrs |= overlay.object_attributes(inode.object)
    if overlay.is_whiteout(inode.node):
        xattrs |= overlay.WHITEOUT_ATTRIBUTES
    if inode.folder is not None and inode.folder.holds_whiteouts:
        xattrs |= overlay.WHITEOUT_FOLDER_ATTRIBUTES
    if is_root:
        xattrs |= overlay.ROOT_ATTRIBUTES
    return sorted(xattrs.items())
