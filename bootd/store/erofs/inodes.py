"""From a tree to the inodes of its image: order, numbers, attributes; not yet places.

Inodes are numbered breadth first, folders' entries in byte order; a node with several names comes
where its first name is. This is composefs 1.0.8's order.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from typing import Final

from bootd.model.errors import InvalidTreeError
from bootd.model.tree import (
    INLINE_LIMIT,
    Directory,
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
    VERITY_SIZE,
)
from bootd.store.erofs.xattrs import Attribute
from bootd.store.hardlinks import HardLink, find_hard_links

CHUNKS_LIMIT: Final = 1016
"""Most chunks a file may have: more do not fit behind an inode, and composefs 1.0.8 then writes
what no kernel reads. The limit is above 8 PB."""
XATTRS_LIMIT: Final = 0x7FFF
"""Room for an inode's attributes in mkcomposefs, counted as it counts."""
_XATTR_COST: Final = 7
_XATTRS_COST: Final = 12
_INT64_LIMIT: Final = 1 << 63
_PERMISSIONS: Final = 0o7777
_NO_NAMES: Final = frozenset({b"", b".", b".."})
_SPECIAL_TYPES: Final = {stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}


@dataclass(slots=True, eq=False)
class Inode:
    """An inode to be written.

    Attributes:
        node: what it stands for; None for the whiteouts composefs adds.
        tail: what stands behind it: a link's target, a small file's content, a large one's chunks.
        address: the device number or chunk format; the writer sets it for data in blocks.
        entries: a folder's, sorted, with ``.`` and ``..``; None: no folder.
        holds_whiteouts: the folder's own, not those composefs adds to the root.
        object: the digest of the object that holds its content.
        attributes: as stored, sorted by name; empty for a file that has only those that name its
            object, because there are a hundred thousand such.
        nid: where it is, in slots; set by the writer.
    """

    node: Node | None
    mode: int
    metadata: Metadata
    parent: Inode | None = None
    links: int = 1
    size: int = 0
    data_layout: int = FLAT_PLAIN
    tail: bytes = b""
    address: int = 0
    entries: list[tuple[bytes, Inode]] | None = None
    holds_whiteouts: bool = False
    object: bytes | None = None
    attributes: Sequence[Attribute] = ()
    nid: int = 0


def tree_inodes(root: Directory) -> list[Inode]:
    """Return the inodes of a tree's image in their order; the first is the root.

    Raises:
        InvalidTreeError: a name, number or size that the format cannot hold; a folder with two
            names; a file whose size, content and digest do not fit.
    """
    inodes = _Numbering(root).inodes
    for inode in inodes:
        if inode.metadata.xattrs or inode.object is None:
            inode.attributes = _attributes(inode)
    return inodes


class _Numbering:
    """Walks a tree breadth first."""

    def __init__(self, root: Directory) -> None:
        self._links = find_hard_links(root)
        self._linked: dict[int, Inode] = {}
        self._sound: set[int] = set()
        self.inodes = [_inode(b"/", root, self._sound)]
        for inode in self.inodes:  # grows while it is walked
            if type(inode.node) is Directory:
                self._add_entries(inode, inode.node)

    def _add_entries(self, inode: Inode, folder: Directory) -> None:
        """Fill in a folder's entries and append the inodes whose place is here."""
        _check_names(folder)
        entries: list[tuple[bytes, Inode]] = []
        inode.entries = entries
        inode.links = 2
        nodes: Iterable[tuple[bytes, Node | None]] = folder.entries.items()
        if inode.parent is None:
            hidden = overlay.HIDING_NAMES - folder.entries.keys()
            nodes = chain(nodes, dict.fromkeys(hidden).items())
        for name, node in sorted(nodes):
            link = self._links.get(id(node))
            if node is None:
                child = _hiding_whiteout(folder)
            elif link is None:
                child = _inode(name, node, self._sound)
            else:
                child = self._shared(name, node, link)
            entries.append((name, child))
            if link is None or (link.name == name and link.folder == id(folder)):
                child.parent = inode
                self.inodes.append(child)
                kind = type(node)
                if kind is Directory:
                    inode.links += 1
                elif kind is SpecialFile and overlay.is_whiteout(node):
                    inode.holds_whiteouts = True
        entries += ((b".", inode), (b"..", inode.parent or inode))
        entries.sort(key=itemgetter(0))

    def _shared(self, name: bytes, node: Node, link: HardLink) -> Inode:
        inode = self._linked.get(id(node))
        if inode is None:
            inode = self._linked[id(node)] = _inode(name, node, self._sound)
            inode.links = link.names
        return inode


def _check_names(folder: Directory) -> None:
    """Check all names at once; only when one is wrong, find out which."""
    names = folder.entries
    joined = b"/".join(names)
    if not names or (
        joined.count(b"/") == len(names) - 1
        and b"\0" not in joined
        and len(max(names, key=len)) <= NAME_LIMIT
        and names.keys().isdisjoint(_NO_NAMES)
    ):
        return
    for name in names:
        if not 0 < len(name) <= NAME_LIMIT or b"/" in name or b"\0" in name or name in _NO_NAMES:
            raise InvalidTreeError(f"{name[:300]!r} cannot be the name of a file")


def _hiding_whiteout(root: Directory) -> Inode:
    """Return what hides a folder of the object store, owned and dated as the root is."""
    like = root.metadata
    label = like.xattrs.get(overlay.SELINUX)
    metadata = replace(like, xattrs={} if label is None else {overlay.SELINUX: label})
    return Inode(None, stat.S_IFCHR | overlay.HIDING_PERMISSIONS, metadata)


def _inode(name: bytes, node: Node, sound: set[int]) -> Inode:
    """Return the inode of a node; `sound` has the `id()` of metadata that was checked already."""
    metadata = node.metadata
    if id(metadata) not in sound:
        _check_metadata(name, metadata)
        sound.add(id(metadata))
    if type(node) is RegularFile:
        inode = Inode(node, stat.S_IFREG | metadata.permissions, metadata)
        _add_content(inode, name, node)
        return inode
    inode = Inode(node, file_type(node) | metadata.permissions, metadata)
    match node:
        case Symlink():
            if not 0 < len(node.target) <= TARGET_LIMIT or b"\0" in node.target:
                raise InvalidTreeError(f"{name!r} cannot link to {node.target[:300]!r}")
            inode.size = len(node.target)
            inode.tail = node.target
        case SpecialFile():
            _add_device(inode, name, node)
        case _:
            pass
    return inode


def _check_metadata(name: bytes, metadata: Metadata) -> None:
    if not (
        0 <= metadata.permissions <= _PERMISSIONS
        and 0 <= metadata.uid <= UINT32_MAX
        and 0 <= metadata.gid <= UINT32_MAX
        and -_INT64_LIMIT <= metadata.mtime_seconds < _INT64_LIMIT
        and 0 <= metadata.mtime_nanoseconds < NANOSECONDS
    ):
        raise InvalidTreeError(f"{name!r} has mode, owner or time out of range: {metadata}")


def _add_content(inode: Inode, name: bytes, node: RegularFile) -> None:
    inode.size = node.size
    if node.content is not None:
        if not len(node.content) == node.size <= INLINE_LIMIT:
            raise InvalidTreeError(
                f"{name!r} has {node.size} bytes and carries {len(node.content)} of"
                f" at most {INLINE_LIMIT}"
            )
        inode.tail = node.content
    elif node.verity is not None and len(node.verity) == VERITY_SIZE and node.size > 0:
        inode.object = node.verity
        chunk_bits = min(max((node.size - 1).bit_length(), BLOCK_BITS), CHUNK_BITS_LIMIT)
        chunks = -(-node.size >> chunk_bits)
        if chunks > CHUNKS_LIMIT:
            raise InvalidTreeError(f"{name!r} has {node.size} bytes, more than composefs can hold")
        inode.data_layout = CHUNK_BASED
        inode.address = chunk_bits - BLOCK_BITS
        inode.tail = NULL_CHUNK if chunks == 1 else NULL_CHUNK * chunks
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


def _attributes(inode: Inode) -> list[Attribute]:
    """Return what an inode stores, sorted: the tree's own attributes and those for overlayfs."""
    node = inode.node
    xattrs: dict[bytes, bytes] = {}
    if inode.metadata.xattrs:
        _check_xattrs(inode.metadata.xattrs)
        xattrs = overlay.escape(inode.metadata.xattrs)
    if inode.object is not None:
        xattrs |= overlay.object_attributes(inode.object)
    if overlay.is_whiteout(node):
        xattrs |= overlay.WHITEOUT_ATTRIBUTES
    if inode.holds_whiteouts:
        xattrs |= overlay.WHITEOUT_FOLDER_ATTRIBUTES
    if inode.parent is None:
        xattrs |= overlay.ROOT_ATTRIBUTES
    return sorted(xattrs.items())


def _check_xattrs(xattrs: dict[bytes, bytes]) -> None:
    room = _XATTRS_COST
    for name, value in xattrs.items():
        length = len(name)
        if not 0 < length <= NAME_LIMIT or b"\0" in name:
            raise InvalidTreeError(f"{name[:300]!r} cannot be the name of an extended attribute")
        room += _XATTR_COST + length + len(value)
    if room > XATTRS_LIMIT:
        raise InvalidTreeError(
            f"extended attributes take {room} bytes, more than {XATTRS_LIMIT}: {sorted(xattrs)}"
        )
