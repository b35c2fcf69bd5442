"""Layers to one tree, as the container tools stack them.

Pure: layers come as entries, a tree goes out. Nothing is opened by an entry's name.

* Whiteouts hide what lower layers have, never what their own layer has, wherever in the layer they
  stand (OCI Image Specification 1.1, layer.md, "Whiteouts" and "Opaque Whiteout").
* A folder over a folder keeps what is in it and takes the new metadata; anything else replaces
  what stood there (the same, "Applying Changesets"). Missing parents are made, 0755 and root's.
* A parent that is a symbolic link, of a lower layer or of the entry's own, is followed inside the
  tree, as the tools that unpack into a folder do (umoci resolves it within the root; containerd and
  containers/storage see it from a chroot). One of the entry's own layer has to lead to a folder:
  what it lacks is not made, as containers/storage does not.
* A hard link shares its target's node, which a lower layer may have brought, and which a whiteout
  of the same layer may hide after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bootd.model.errors import InvalidLayerError
from bootd.model.links import MAX_LINKS
from bootd.model.tree import Directory, Metadata, Node, Symlink
from bootd.store.images.dumpfile import DumpEntry
from bootd.store.tar.header import shown

WHITEOUT: Final = b".wh."
OPAQUE: Final = b".wh..wh..opq"

_IN_PATH: Final = b"/" + WHITEOUT
_META: Final = b".wh..wh."
"""Other names like this are AUFS's own records; the container tools leave them out, too."""
_RECORDS: Final = b"/" + _META
"""Where AUFS has its own: files with several names among them, to which hard links lead."""
_ROOT_OPAQUE: Final = b"/" + OPAQUE
_NAMES_LIMIT: Final = 8_192
"""Names that those links may have together."""
_FOLLOWED_LIMIT: Final = 100_000
"""Links of their own layer that all whiteouts of a layer may go through."""
_NO_LINK: Final = 1 << 62
"""More names than are ever left behind a symbolic link."""

Kept = dict[int, Node]
"""What the target of a hard link was when its turn came, by the `id()` of the link's entry."""


def apply_layer(root: Directory, layer: list[DumpEntry]) -> None:
    """Put the next layer over the tree of those below it, an empty root for the lowest.

    The nodes of the entries become part of the tree.

    Raises:
        InvalidLayerError: an entry cannot be applied; it is named.
    """
    if any(_IN_PATH in entry.path for entry in layer):
        kept = hide(root, layer)
        add(root, [entry for entry in layer if not _is_mark(entry.path)], kept)
    else:
        add(root, layer)


def _is_mark(path: bytes) -> bool:
    """Tell whether an entry is a whiteout or a record of AUFS.

    What lies in a folder that is named like a whiteout is a file, for the other tools, too.
    """
    return path.startswith(_IN_PATH, path.rfind(b"/")) or _is_record(path)


def _is_record(path: bytes) -> bool:
    return path.startswith(_RECORDS) and path != _ROOT_OPAQUE


def hide(root: Directory, layer: Iterable[DumpEntry]) -> Kept:
    """Take out of a tree what the whiteouts of the next layer hide.

    Returns:
        What hard links of the layer lead to, which may be hidden after them.

    Raises:
        InvalidLayerError: a whiteout names no possible file.
    """
    kept: Kept = {}
    links: dict[bytes, bytes] = {}
    records: dict[bytes, Node] = {}
    followed = 0
    for entry in layer:
        path = entry.path
        if _is_record(path):
            if entry.node is not None:
                records[path] = entry.node
        elif _is_mark(path):
            real, count = _through(path, links)
            followed += count
            if followed > _FOLLOWED_LIMIT:
                raise InvalidLayerError(
                    f"entry {shown(path)} is a whiteout, and those of its layer go through more "
                    f"than {_FOLLOWED_LIMIT} symbolic links"
                )
            _hide(root, path, real)
        elif entry.target is not None:
            node = records.get(entry.target) or _node_at(root, entry.target, path)
            if node is not None:
                kept[id(entry)] = node
        elif isinstance(entry.node, Symlink):
            links[path] = entry.node.target
        elif links:
            links.pop(path, None)
    return kept


def _hide(root: Directory, entry: bytes, path: bytes) -> None:
    before, _, name = path.rpartition(b"/")
    if name.startswith(_META) and name != OPAQUE:
        return
    hidden = name[len(WHITEOUT) :]
    if hidden in (b"", b".", b".."):
        raise InvalidLayerError(f"entry {shown(entry)} is a whiteout of nothing")
    folder = _Resolver(root, entry).find(before)
    if folder is None:
        return
    if name == OPAQUE:
        folder.entries.clear()
    else:
        folder.entries.pop(hidden, None)


def _through(path: bytes, links: dict[bytes, bytes]) -> tuple[bytes, int]:
    """Follow the symbolic links of a whiteout's own layer.

    Returns:
        The path that they lead to, as text, and how many were followed.
    """
    followed = 0
    while links and followed < MAX_LINKS:
        at = path.find(b"/", 1)
        while at > 0 and path[:at] not in links:
            at = path.find(b"/", at + 1)
        if at < 0:
            break
        path = _joined(path[:at], links[path[:at]]) + path[at:]
        followed += 1
    return path, followed


def _joined(link: bytes, target: bytes) -> bytes:
    """Return where a link leads, as text; ``..`` at the root stays there."""
    names: list[bytes] = []
    folder = b"" if target.startswith(b"/") else link.rpartition(b"/")[0]
    for name in (folder + b"/" + target).split(b"/"):
        if name == b"..":
            del names[-1:]
        elif name not in (b"", b"."):
            names.append(name)
    return b"".join(b"/" + name for name in names)


def add(root: Directory, entries: list[DumpEntry], kept: Kept | None = None) -> None:
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
            resolver = _Resolver(root, path, own)
            folder = resolver.make(before)
            # What is put into a folder never replaces that folder: it may be kept for the next. It
            # may replace a link on the way there.
            folder_path = before if not resolver.links else b"."
        if entry.target is None:
            assert entry.node is not None
            _put(folder, name, entry.node)
        else:
            folder.entries[name] = _link_target(root, entry, own, kept or {})


def _put(folder: Directory, name: bytes, node: Node) -> None:
    there = folder.entries.get(name)
    if isinstance(node, Directory) and isinstance(there, Directory):
        there.metadata = node.metadata
    else:
        folder.entries[name] = node


def _link_target(root: Directory, entry: DumpEntry, own: set[int], kept: Kept) -> Node:
    assert entry.target is not None
    resolver = _Resolver(root, entry.path, own)
    before, _, name = entry.target.rpartition(b"/")
    folder = resolver.find(before)
    node = folder.entries.get(name) if folder is not None else None
    node = node or kept.get(id(entry))
    if node is None or isinstance(node, Directory):
        what = "a folder" if node else "nothing"
        if resolver.dangling:
            what += f": it goes through the symbolic link {shown(resolver.dangling)}"
        raise InvalidLayerError(
            f"entry {shown(entry.path)} is a hard link to {shown(entry.target)}, which is {what}"
        )
    return node


def _node_at(root: Directory, path: bytes, entry: bytes) -> Node | None:
    before, _, name = path.rpartition(b"/")
    folder = _Resolver(root, entry).find(before)
    return None if folder is None else folder.entries.get(name)


class _Resolver:
    """Finds the folder of one entry in a tree, without ever leaving it.

    Args:
        root: the tree.
        entry: the entry's path, for messages.
        own: the `id()` of each symbolic link of the entry's own layer.

    Attributes:
        links: how many symbolic links were on the way.
        dangling: the one of the own layer that is not followed to a folder, if one is not.
    """

    __slots__ = ("_entry", "_names", "_own", "_root", "dangling", "links")

    def __init__(self, root: Directory, entry: bytes, own: set[int] | None = None) -> None:
        self._root = root
        self._entry = entry
        self._own = own or set()
        self._names = 0
        self.links = 0
        self.dangling = b""

    def find(self, path: bytes) -> Directory | None:
        """Return the folder at a path, or None where there is none.

        Raises:
            InvalidLayerError: there are too many symbolic links on the way.
        """
        return self._walk(path, make=False)

    def make(self, path: bytes) -> Directory:
        """Return the folder at a path; what is missing is made.

        Raises:
            InvalidLayerError: something on the way is no folder, or a symbolic link of the entry's
                own layer leads to nothing.
        """
        folder = self._walk(path, make=True)
        if folder is None and self.dangling:
            raise InvalidLayerError(
                f"entry {shown(self._entry)} goes through the symbolic link {shown(self.dangling)} "
                "of its own layer, which leads to no folder"
            )
        if folder is None:
            raise InvalidLayerError(
                f"entry {shown(self._entry)} lies below something that is no folder"
            )
        return folder

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
        behind = _NO_LINK
        while names:
            name = names.pop()
            if len(names) < behind:
                behind, self.dangling = _NO_LINK, b""
            if name == b"..":
                del stack[max(len(stack) - 1, 1) :]
                continue
            if name in (b"", b"."):
                continue
            node = stack[-1].entries.get(name)
            if isinstance(node, Symlink):
                self._count_link(node, name)
                if id(node) in self._own and behind == _NO_LINK:
                    behind, self.dangling = len(names), name
                if node.target.startswith(b"/"):
                    del stack[1:]
                names += node.target.split(b"/")[::-1]
            elif isinstance(node, Directory):
                stack.append(node)
            elif node is None and make and behind == _NO_LINK:
                stack.append(_make_folder(stack[-1], name))
            else:
                return None
        return stack[-1]

    def _count_link(self, link: Symlink, name: bytes) -> None:
        self.links += 1
        self._names += link.target.count(b"/")
        if self.links > MAX_LINKS or self._names > _NAMES_LIMIT:
            raise InvalidLayerError(
                f"entry {shown(self._entry)} goes through the symbolic link {shown(name)} and too "
                f"many others: {MAX_LINKS} are followed, with {_NAMES_LIMIT} names"
            )


def _make_folder(folder: Directory, name: bytes) -> Directory:
    made = Directory(Metadata())
    folder.entries[name] = made
    return made
