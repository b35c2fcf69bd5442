"""Reads trees back from images that composefs or bootd wrote.

What composefs added for overlayfs is taken out again: reading what `write_erofs` wrote gives the
same tree. Nothing in an image is trusted: folders form a tree by their ``..`` entries, which rules
loops out without memory; sizes are bound by the image's own (`Window`); what is malformed raises
`DamagedImageError`. Two things of a tree do not come back: an opaque mark on a folder with
whiteouts, and a file with the very attributes by which composefs marks a whiteout.
"""

from __future__ import annotations

import os
import stat
from typing import Final, Self

from bootd.model.errors import DamagedImageError
from bootd.model.hash_algorithm import BY_DIGEST_SIZE
from bootd.model.tree import (
    INLINE_LIMIT,
    Directory,
    Metadata,
    Node,
    RegularFile,
    SpecialFile,
    Symlink,
    lookup,
)
from bootd.store.erofs import overlay
from bootd.store.erofs.decoding import (
    SharedEntries,
    StoredEntry,
    StoredInode,
    read_attributes,
    read_data,
    read_entries,
    read_inode,
    read_superblock,
)
from bootd.store.erofs.layout import (
    CHUNK_BASED,
    FILE_TYPES,
    SLOT,
    TARGET_LIMIT,
)
from bootd.store.erofs.window import Window
from bootd.store.erofs.xattrs import ObjectAttributes, encode_entry

_FOLDER_TYPE: Final = FILE_TYPES[stat.S_IFDIR]
_METACOPY_ENTRIES: Final = {
    size: encode_entry(overlay.METACOPY, overlay.metacopy(bytes(size)))[:-size]
    for size in BY_DIGEST_SIZE
}
"""What stands before a digest, by its bytes."""
_ALONE: Final = {one.size: one for one in map(ObjectAttributes, BY_DIGEST_SIZE.values())}
"""The attributes of a file that has no others but those that name its object, by their bytes."""

_Folder = dict[bytes, StoredEntry]


class ErofsImage:
    """An image to read from; a context manager that closes its file.

    Nodes are made once: the same inode is the same object, in every answer. They are not to be
    changed.

    Args:
        window: the bytes.

    Raises:
        DamagedImageError: it is no composefs image, or cut short.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._superblock = read_superblock(window)
        self._shared = SharedEntries(window, self._superblock.shared_xattrs)
        self._nodes: dict[int, Node] = {}
        self._complete: set[int] = set()
        self._parents: dict[int, int] = {}
        self._folders: dict[int, _Folder] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open an image file.

        Raises:
            WriteFailedError: the kernel refused to open the file.
            DamagedImageError: it is no composefs image, or cut short.
        """
        window = Window.open(path)
        try:
            return cls(window)
        except BaseException:
            window.close()
            raise

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "the image") -> Self:
        """Read an image that is in memory; `name` is for messages."""
        return cls(Window(name, len(content), content=content))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nodes already returned stay good."""
        self._window.close()

    def root(self) -> Directory:
        """Return the whole tree.

        Raises:
            DamagedImageError: something in it is malformed.
        """
        root = self.lookup(b"/")
        assert isinstance(root, Directory)
        return root

    def lookup(self, path: bytes, levels: int | None = None) -> Node | None:
        """Return the node at a path with what is below it, or None; links are not followed.

        Only the folders on the way and what is below the path are read.

        Args:
            path: of the node.
            levels: how deep below a folder to read, at least 1; folders that lie deeper are empty.
                None: all there is.

        Raises:
            DamagedImageError: something on the way or below is malformed.
        """
        names = [name for name in path.split(b"/") if name]
        root = self._superblock.root
        place, parent = StoredEntry(root, _FOLDER_TYPE), root
        for position, name in enumerate(names):
            if place.file_type != _FOLDER_TYPE:
                return None
            self._check_parent(place.nid, parent)
            if place.nid in self._complete:
                directory = self._directory(place.nid)
                return lookup(directory, b"/".join(names[position:]))
            entry = self._folder(place.nid, parent).get(name)
            if entry is None:
                return None
            place, parent = entry, place.nid
        if place.file_type != _FOLDER_TYPE:
            return self._leaf(place)
        return self._subtree(place.nid, parent, levels)

    def objects(self) -> set[bytes]:
        """Return the digests of all objects the image refers to, without walking the tree.

        Found by the form of the attribute that holds them, so the set may have more: what a file or
        attribute in the image imitates. It never has fewer.
        """
        whole = self._window.whole()
        return {
            piece[:size]
            for size, entry in _METACOPY_ENTRIES.items()
            for piece in whole.split(entry)[1:]
        }

    def _subtree(self, top: int, parent: int, levels: int | None) -> Directory:
        """Return a folder with what is below it."""
        filled = []
        stack = [(top, parent, 1)]
        while stack:
            nid, parent, level = stack.pop()
            self._check_parent(nid, parent)
            if nid in self._complete:
                continue
            directory = self._directory(nid)
            for name, entry in self._folder(nid, parent).items():
                if entry.file_type == _FOLDER_TYPE:
                    directory.entries[name] = self._directory(entry.nid)
                    if level != levels:
                        stack.append((entry.nid, nid, level + 1))
                else:
                    directory.entries[name] = self._leaf(entry)
            if any(map(overlay.is_whiteout, directory.entries.values())):
                overlay.unmark_whiteouts(directory.metadata.xattrs)
            filled.append(nid)
        if levels is not None:
            return self._directory(top)
        # Only now: a fault half-way must not leave a folder that looks complete.
        self._complete.update(filled)
        for nid in filled:
            del self._folders[nid]
        return self._directory(top)

    def _folder(self, nid: int, parent: int) -> _Folder:
        """Return a folder's entries but those that every folder or every image has."""
        folder = self._folders.get(nid)
        if folder is None:
            inode = read_inode(self._window, self._superblock, nid)
            if not stat.S_ISDIR(inode.mode):
                raise self._damaged(inode, "is no folder")
            folder = read_entries(self._window, inode)
            self._check_folder(inode, parent, folder)
            if nid == self._superblock.root:
                for name in overlay.HIDING_NAMES & folder.keys():
                    if self._hides(folder[name]):
                        del folder[name]
            self._folders[nid] = folder
        return folder

    def _check_parent(self, nid: int, parent: int) -> None:
        """See that a folder is in one folder only, also where it is known already."""
        if self._parents.setdefault(nid, parent) != parent:
            raise self._window.damaged(
                f"folder {nid} is in {parent} and in {self._parents[nid]}",
                self._superblock.metadata + nid * SLOT,
            )

    def _check_folder(self, inode: StoredInode, parent: int, folder: _Folder) -> None:
        """Take out ``.`` and ``..`` and see that every folder below is in this one only."""
        dot, dots = folder.pop(b".", None), folder.pop(b"..", None)
        if dot != (inode.nid, _FOLDER_TYPE) or dots != (parent, _FOLDER_TYPE):
            raise self._damaged(inode, f"is no folder in {parent}")
        below = [entry.nid for entry in folder.values() if entry.file_type == _FOLDER_TYPE]
        if len(set(below)) < len(below) or inode.nid in below:
            raise self._damaged(inode, "holds itself or a folder twice")

    def _hides(self, entry: StoredEntry) -> bool:
        inode = read_inode(self._window, self._superblock, entry.nid)
        return stat.S_ISCHR(inode.mode) and not inode.address

    def _directory(self, nid: int) -> Directory:
        """Return the folder of an inode; its entries may still be missing."""
        node = self._nodes.get(nid)
        if node is None:
            inode = read_inode(self._window, self._superblock, nid)
            node = self._nodes[nid] = Directory(self._metadata(inode, self._xattrs(inode)))
        if not isinstance(node, Directory):
            raise self._window.damaged(
                f"inode {nid} is a folder and is none", self._superblock.metadata + nid * SLOT
            )
        return node

    def _leaf(self, entry: StoredEntry) -> Node:
        """Return the node of an inode that is no folder."""
        node = self._nodes.get(entry.nid)
        if node is None:
            inode = read_inode(self._window, self._superblock, entry.nid)
            kind = stat.S_IFMT(inode.mode)
            if FILE_TYPES.get(kind) != entry.file_type:
                raise self._damaged(inode, f"has mode {inode.mode:#o}, not type {entry.file_type}")
            node = self._nodes[entry.nid] = self._make_leaf(inode, kind)
        return node

    def _make_leaf(self, inode: StoredInode, kind: int) -> Node:
        if kind == stat.S_IFREG and inode.size and (verity := self._lone_object(inode)):
            return RegularFile(self._metadata(inode, {}), inode.size, verity=verity)
        xattrs = self._xattrs(inode)
        if kind == stat.S_IFREG:
            return self._make_file(inode, xattrs)
        metadata = self._metadata(inode, xattrs)
        if kind == stat.S_IFLNK:
            target = read_data(self._window, inode) if inode.size <= TARGET_LIMIT else b""
            if not target or b"\0" in target:
                raise self._damaged(inode, f"has a link target of {inode.size} bytes")
            return Symlink(metadata, target)
        if kind in {stat.S_IFCHR, stat.S_IFBLK}:
            device = SpecialFile(metadata, kind, inode.address)
            if overlay.is_whiteout(device):
                raise self._damaged(inode, "is a whiteout outside the root")
            return device
        return SpecialFile(metadata, kind)

    def _lone_object(self, inode: StoredInode) -> bytes | None:
        """Return the object of a file that has no attributes but those that name it, as most."""
        alone = _ALONE.get(inode.xattrs_size)
        if inode.data_layout != CHUNK_BASED or alone is None:
            return None
        return alone.decode(self._window.read(inode.xattrs, inode.xattrs_size))

    def _make_file(self, inode: StoredInode, xattrs: dict[bytes, bytes]) -> Node:
        size = inode.size
        if inode.data_layout == CHUNK_BASED:
            verity = overlay.object_of(xattrs)
            if verity is None or not size:
                raise self._damaged(inode, "names no object")
            return RegularFile(self._metadata(inode, xattrs), size, verity=verity)
        if size > INLINE_LIMIT:
            raise self._damaged(inode, f"holds {size} bytes, more than {INLINE_LIMIT}")
        if not size and overlay.WHITEOUT_ATTRIBUTES.items() <= xattrs.items():
            for name in overlay.WHITEOUT_ATTRIBUTES:
                del xattrs[name]
            return SpecialFile(self._metadata(inode, xattrs), stat.S_IFCHR)
        content = read_data(self._window, inode)
        return RegularFile(self._metadata(inode, xattrs), size, content)

    def _xattrs(self, inode: StoredInode) -> dict[bytes, bytes]:
        return read_attributes(self._window, inode, self._shared)

    def _metadata(self, inode: StoredInode, xattrs: dict[bytes, bytes]) -> Metadata:
        return Metadata(
            stat.S_IMODE(inode.mode),
            inode.uid,
            inode.gid,
            inode.seconds,
            inode.nanoseconds,
            overlay.unescape(xattrs) if xattrs else xattrs,
        )

    def _damaged(self, inode: StoredInode, what: str) -> DamagedImageError:
        return self._window.damaged(f"inode {inode.nid} {what}", inode.offset)
