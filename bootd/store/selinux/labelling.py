"""Puts the labels of a policy on a tree, in place of those that it came with.

What a layer says of a label is about the machine that built it, so none of it stays. A file of
several names that would have several labels becomes several files, since an inode has one; the
name that comes first in a walk in byte order keeps the inode. Both as in composefs-rs, so that
whoever labels an image arrives at the same tree.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from bootd.model.tree import Directory, Metadata, Node, RegularFile, SpecialFile, Symlink
from bootd.store.hardlinks import find_hard_links
from bootd.store.selinux.index import Place
from bootd.store.selinux.policy import Policy

LABEL: Final = b"security.selinux"
_FOLDER: Final = 1
_KINDS: Final[dict[type[Node], int]] = {RegularFile: 0, Directory: _FOLDER, Symlink: 2}
_SPECIAL_KINDS: Final = {stat.S_IFCHR: 3, stat.S_IFBLK: 4, stat.S_IFIFO: 5, stat.S_IFSOCK: 6}


def kind_of(node: Node) -> int:
    """Return the kind of file that a node is, as a policy numbers them."""
    if type(node) is SpecialFile:
        return _SPECIAL_KINDS[node.file_type]
    return _KINDS[type(node)]


class Labeller:
    """Labels trees by a policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._dressed: dict[bytes | None, dict[int, tuple[Metadata, Metadata]]] = {}
        """By label and the `id()` of metadata: this metadata, kept so that it has its number for
        itself, and the same with the label."""

    def label(
        self, root: Directory, path: bytes = b"", elsewhere: dict[int, bytes] | None = None
    ) -> None:
        """Label a folder with all that is below it.

        Args:
            root: the folder; it is changed in place.
            path: which folder it is, absolute; empty for the root.
            elsewhere: folders below it that are labelled as if they were at another path, by
                `id()`.

        Raises:
            SpecificationError: the policy's expressions cannot be used.
            InvalidTreeError: a folder stands in the tree twice.
        """
        links = find_hard_links(root)
        shared: list[_Name] = []
        elsewhere = elsewhere or {}
        for where, folder, place in self._folders(root, path, elsewhere):
            if folder is root or id(folder) in elsewhere:
                self._dress(folder, self._policy.label(where or b"/", _FOLDER))
            label = self._policy.labels_in(where, place)
            dressed = self._dressed
            for name, node in folder.entries.items():
                kind = _KINDS.get(type(node))
                text = label(name, kind_of(node) if kind is None else kind)
                if id(node) in links:
                    shared.append(((*where.split(b"/"), name), folder, node, text))
                    continue
                known = dressed.setdefault(text, {}).get(id(node.metadata))
                if known is None:
                    self._dress(node, text)
                else:
                    node.metadata = known[1]
        self._label_shared(shared)

    def _folders(
        self, root: Directory, path: bytes, elsewhere: dict[int, bytes]
    ) -> Iterator[tuple[bytes, Directory, Place]]:
        """Yield each folder with its path and what the policy knows of that."""
        stack = [(path, root, self._policy.folder(path))]
        while stack:
            where, folder, place = stack.pop()
            yield where, folder, place
            for name, node in folder.entries.items():
                if type(node) is not Directory:
                    continue
                if id(node) in elsewhere:
                    there = elsewhere[id(node)]
                    stack.append((there, node, self._policy.folder(there)))
                else:
                    below = self._policy.enter(where, place, name)
                    stack.append((where + b"/" + name, node, below))

    def _label_shared(self, shared: list[_Name]) -> None:
        """Label files of several names."""
        first: dict[int, bytes | None] = {}
        for path, folder, node, label in sorted(shared, key=lambda one: one[0]):
            if id(node) not in first:
                first[id(node)] = label
                self._dress(node, label)
            elif first[id(node)] != label:
                assert not isinstance(node, Directory)
                own = replace(node)
                self._dress(own, label)
                folder.entries[path[-1]] = own

    def _dress(self, node: Node, label: bytes | None) -> None:
        known = self._dressed.setdefault(label, {})
        before = node.metadata
        if id(before) not in known:
            known[id(before)] = before, labelled(before, label)
        node.metadata = known[id(before)][1]


_Name = tuple[tuple[bytes, ...], Directory, Node, bytes | None]
"""The path of one of several names, its folder, the node, the label."""


def labelled(metadata: Metadata, label: bytes | None) -> Metadata:
    """Return metadata with a label, or without any."""
    if metadata.xattrs.get(LABEL) == label:
        return metadata
    xattrs = {name: value for name, value in metadata.xattrs.items() if name != LABEL}
    if label is not None:
        xattrs[LABEL] = label
    return replace(metadata, xattrs=xattrs)


def unlabel(root: Directory) -> None:
    """Take all labels from a tree, which is changed in place."""
    root.metadata = labelled(root.metadata, None)
    stack = [root]
    while stack:
        for node in stack.pop().entries.values():
            if node.metadata.xattrs:
                node.metadata = labelled(node.metadata, None)
            if type(node) is Directory:
                stack.append(node)
