"""Layers to one tree, as the container tools stack them.

Pure: layers come as entries, a tree goes out. Nothing is opened by an entry's name.

* Whiteouts hide what lower layers have, never what their own layer has, wherever in the layer they
  stand (OCI Image Specification 1.1, layer.md, "Whiteouts" and "Opaque Whiteout").
* A folder over a folder keeps what is in it and takes the new metadata; anything else replaces
  what stood there (the same, "Applying Changesets"). Missing parents are made, 0755 and root's.
* A parent that is a symbolic link of a lower layer is followed inside the tree, as the tools that
  unpack into a folder do (umoci resolves it within the root; containerd and containers/storage see
  it from a chroot). One of the entry's own layer is refused: no builder writes that, since it saw
  the entry behind the link under its real name.
* A hard link shares its target's node, which a lower layer may have brought.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bootd.model.errors import InvalidLayerError
from bootd.model.tree import Directory, Metadata, Node, Symlink
from bootd.store.dumpfile import DumpEntry
from bootd.store.tar_header import shown

WHITEOUT: Final = b".wh."
OPAQUE: Final = b".wh..wh..opq"

_IN_PATH: Final = b"/" + WHITEOUT
_META: Final = b".wh..wh."
"""Other names like this are AUFS's own records; the container tools leave them out, too."""
_LINKS_LIMIT: Final = 40
"""Symbolic links followed for one name, as in Linux."""


def apply_layer(root: Directory, layer: list[DumpEntry]) -> None:
    """Put the next layer over the tree of those below it, an empty root for the lowest.

    The nodes of the entries become part of the tree.

    Raises:
        InvalidLayerError: an entry cannot be applied; it is named.
    """
    whiteouts = [entry.path for entry in layer if _IN_PATH in entry.path]
    hide(root, whiteouts)
    add(root, [entry for entry in layer if _IN_PATH not in entry.path] if whiteouts else layer)


def hide(root: Directory, whiteouts: Iterable[bytes]) -> None:
    """Take out of a tree what the whiteouts of the next layer hide.

    Raises:
        InvalidLayerError: a whiteout names no possible file.
    """
    for path in whiteouts:
        before, _, name = path.rpartition(b"/")
        if _IN_PATH in before or (name.startswith(_META) and name != OPAQUE):
            continue
        hidden = name[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise InvalidLayerError(f"entry {shown(path)} is a whiteout of nothing")
        folder = _Resolver(root, path).find(before)
        if folder is None:
            continue
        if name == OPAQUE:
            folder.entries.clear()
        else:
            folder.entries.pop(hidden, None)


def add(root: Directory, entries: list[DumpEntry]) -> None:
    """Put the entries of one layer, whiteouts aside, over a tree.

    Raises:
        InvalidLayerError: an entry cannot be applied.
    """
    own = {id(entry.node) for entry in entries if isinstance(entry.node, Symlink)}
    folder, folder_path = root, b""
    for entry in entries:
        path = entry.path
        if path == b"/":
            assert isinstance(entry.node, Directory)
            root.metadata = entry.node.metadata
            continue
        before, _, name = path.rpartition(b"/")
        if before != folder_path:
            # What is put into a folder never replaces that folder: it may be kept for the next.
            folder, folder_path = _Resolver(root, path, own).make(before), before
        if entry.target is None:
            assert entry.node is not None
            _put(folder, name, entry.node)
        else:
            folder.entries[name] = _link_target(root, entry, own)


def _put(folder: Directory, name: bytes, node: Node) -> None:
    there = folder.entries.get(name)
    if isinstance(node, Directory) and isinstance(there, Directory):
        there.metadata = node.metadata
    else:
        folder.entries[name] = node


def _link_target(root: Directory, entry: DumpEntry, own: set[int]) -> Node:
    assert entry.target is not None
    before, _, name = entry.target.rpartition(b"/")
    folder = _Resolver(root, entry.path, own).find(before)
    node = folder.entries.get(name) if folder is not None else None
    if node is None or isinstance(node, Directory):
        what = "a folder" if node else "nothing"
        raise InvalidLayerError(
            f"entry {shown(entry.path)} is a hard link to {shown(entry.target)}, which is {what}"
        )
    return node


class _Resolver:
    """Finds the folder of one entry in a tree, without ever leaving it.

    Args:
        root: the tree.
        entry: the entry's path, for messages.
        own: the `id()` of each symbolic link of the entry's own layer.
    """

    __slots__ = ("_entry", "_links", "_own", "_root")

    def __init__(self, root: Directory, entry: bytes, own: set[int] | None = None) -> None:
        self._root = root
        self._entry = entry
        self._own = own or set()
        self._links = 0

    def find(self, path: bytes) -> Directory | None:
        """Return the folder at a path, or None where there is none."""
        return self._walk(path, make=False)

    def make(self, path: bytes) -> Directory:
        """Return the folder at a path; what is missing is made.

        Raises:
            InvalidLayerError: something on the way is no folder.
        """
        found = self._walk(path, make=True)
        if found is None:
            raise InvalidLayerError(
                f"entry {shown(self._entry)} lies below something that is no folder"
            )
        return found

    def _walk(self, path: bytes, *, make: bool) -> Directory | None:
        folder = self._root
        for name in path.split(b"/"):
            if not name:
                continue
            node = folder.entries.get(name)
            if type(node) is Directory:
                folder = node
            elif node is None and make:
                folder = _make_folder(folder, name)
            elif isinstance(node, Symlink):
                return self._follow(path, make=make)
            else:
                return None
        return folder

    def _follow(self, path: bytes, *, make: bool) -> Directory | None:
        """Walk a path on which there are symbolic links; ``..`` at the root stays there."""
        stack = [self._root]
        names = path.split(b"/")[::-1]
        while names:
            name = names.pop()
            if name == b"..":
                if len(stack) > 1:
                    stack.pop()
                continue
            if name in (b"", b"."):
                continue
            node = stack[-1].entries.get(name)
            if isinstance(node, Symlink):
                self._check_link(node, name)
                if node.target.startswith(b"/"):
                    del stack[1:]
                names += node.target.split(b"/")[::-1]
            elif isinstance(node, Directory):
                stack.append(node)
            elif node is None and make:
                stack.append(_make_folder(stack[-1], name))
            else:
                return None
        return stack[-1]

    def _check_link(self, link: Symlink, name: bytes) -> None:
        self._links += 1
        if id(link) in self._own or self._links > _LINKS_LIMIT:
            raise InvalidLayerError(
                f"entry {shown(self._entry)} goes through the symbolic link {shown(name)}"
            )


def _make_folder(folder: Directory, name: bytes) -> Directory:
    made = Directory(Metadata())
    folder.entries[name] = made
    return made
