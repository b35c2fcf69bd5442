"""Which inode of an image comes when.

Breadth first, a folder's entries in byte order; a node with several names comes where the first of
them is. This is composefs 1.0.8's order. What is done for each of a hundred thousand nodes is done
for a folder's at once.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass, replace
from typing import Final

from bootd.model.errors import InvalidTreeError
from bootd.model.tree import Directory, Metadata, Node, SpecialFile
from bootd.store.erofs import overlay
from bootd.store.erofs.layout import NAME_LIMIT
from bootd.store.hardlinks import HardLink, find_hard_links

_NO_NAMES: Final = frozenset({b"", b".", b".."})


@dataclass(slots=True, eq=False)
class HidingWhiteout:
    """What hides a folder of the object store; composefs adds it to the root."""

    metadata: Metadata


@dataclass(slots=True, eq=False)
class NumberedFolder:
    """What a folder's inode depends on besides its node.

    Attributes:
        names: of its entries, sorted, with ``.`` and ``..``.
        numbers: the inodes of these.
        folders: how many folders are in it.
        holds_whiteouts: its own, not those that composefs adds to the root.
    """

    names: list[bytes]
    numbers: list[int]
    folders: int
    holds_whiteouts: bool

    def add_dots(self, own: int, parent: int) -> None:
        """Add ``.`` and ``..``, which have the numbers given."""
        if not self.names or self.names[0] > b"..":
            self.names[:0] = b".", b".."
            self.numbers[:0] = own, parent
            return
        for name, number in ((b".", own), (b"..", parent)):
            place = bisect(self.names, name)
            self.names.insert(place, name)
            self.numbers.insert(place, number)


class NumberedTree:
    """A tree's nodes in the order of their inodes, the root first.

    Attributes:
        nodes: by number.
        names: the name of each, for messages.
        folders: those nodes that are folders, by number.
        links: see `find_hard_links`.

    Raises:
        InvalidTreeError: a name that no file can have; a folder with two names.
    """

    def __init__(self, root: Directory) -> None:
        self.nodes: list[Node | HidingWhiteout] = [root]
        self.names: list[bytes] = [b"/"]
        self.folders: dict[int, NumberedFolder] = {}
        self.links: dict[int, HardLink] = find_hard_links(root)
        self._parents = {0: 0}
        self._with_links: dict[int, list[Node | HidingWhiteout]] = {}
        self._numbers: dict[int, int] = {}
        for number, node in enumerate(self.nodes):  # grows meanwhile
            if type(node) is Directory:
                self.folders[number] = self._add_folder(number, node)
        for number, nodes in self._with_links.items():
            self.folders[number].numbers = [self._numbers[id(node)] for node in nodes]
        for number, folder in self.folders.items():
            folder.add_dots(number, self._parents[number])

    def _add_folder(self, number: int, folder: Directory) -> NumberedFolder:
        """Append the nodes whose place is in a folder."""
        _check_names(folder)
        entries: dict[bytes, Node | HidingWhiteout] = {**folder.entries}
        if not number:
            for name in overlay.HIDING_NAMES - entries.keys():
                entries[name] = _hiding_whiteout(folder)
        names = sorted(entries)
        nodes = list(map(entries.__getitem__, names))
        first = len(self.nodes)
        if self.links.keys().isdisjoint(map(id, nodes)):
            self.nodes += nodes
            self.names += names
        else:
            self._with_links[number] = nodes
            self._add_first_named(folder, names, nodes)
        here = self.nodes[first:]
        kinds = list(map(type, here))
        if Directory in kinds:
            below = (child for child, kind in enumerate(kinds, first) if kind is Directory)
            self._parents.update(dict.fromkeys(below, number))
        return NumberedFolder(
            names,
            list(range(first, first + len(here))),
            kinds.count(Directory),
            SpecialFile in kinds and any(map(overlay.is_whiteout, here)),
        )

    def _add_first_named(
        self, folder: Directory, names: list[bytes], nodes: list[Node | HidingWhiteout]
    ) -> None:
        """Append those of a folder's nodes that have no other name, or this one as the first."""
        for name, node in zip(names, nodes, strict=True):
            link = self.links.get(id(node))
            if link is None or (link.name == name and link.folder == id(folder)):
                self._numbers[id(node)] = len(self.nodes)
                self.nodes.append(node)
                self.names.append(name)


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


def _hiding_whiteout(root: Directory) -> HidingWhiteout:
    """Return what hides a folder of the object store, owned and dated as the root is."""
    like = root.metadata
    label = like.xattrs.get(overlay.SELINUX)
    xattrs = {} if label is None else {overlay.SELINUX: label}
    return HidingWhiteout(replace(like, permissions=overlay.HIDING_PERMISSIONS, xattrs=xattrs))
