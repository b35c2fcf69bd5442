"""Whole trees as lines of composefs-dump(5) and back, to compare with other programs' dumps.

A folder must stand before what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bootd.model.errors import DamagedRecordError
from bootd.model.tree import Directory, Node, walk
from bootd.store.hardlinks import find_hard_links
from bootd.store.images.dumpfile import DumpEntry, format_entry, parse_line


def dump_tree(root: Directory) -> Iterator[bytes]:
    """Yield the lines of a tree, newlines included: folders first, names in byte order.

    A node with several names stands where the first of them is; the others refer to it.

    Raises:
        InvalidTreeError: a folder stands under two names.
    """
    links = find_hard_links(root)
    first: dict[int, bytes] = {}
    yield format_entry(DumpEntry(b"/", root))
    for path, node in walk(root, b"/"):
        link = links.get(id(node))
        if link is None:
            yield format_entry(DumpEntry(path, node))
        else:
            yield format_entry(DumpEntry(path, node, first.get(id(node)), link.names))
            first.setdefault(id(node), path)


def parse_tree(lines: Iterable[bytes]) -> Directory:
    """Return the tree that lines describe.

    Raises:
        DamagedRecordError: a line is malformed, its folder is missing, its path is taken, or it
            refers to an entry that is missing or a folder.
    """
    nodes: dict[bytes, Node] = {}
    names: dict[bytes, bytes] = {}
    for line in lines:
        entry = parse_line(line)
        path = entry.path
        if path in nodes or path in names:
            raise DamagedRecordError(f"{path!r} is listed twice")
        if entry.node is None:
            assert entry.target is not None
            names[path] = entry.target
        else:
            nodes[path] = entry.node
        if path != b"/":
            folder, name = _folder(nodes, path)
            if entry.node is not None:
                folder.entries[name] = entry.node
    for path, target in names.items():
        node = nodes.get(target)
        if node is None or isinstance(node, Directory):
            raise DamagedRecordError(f"{path!r} refers to {target!r}, which is no file")
        folder, name = _folder(nodes, path)
        folder.entries[name] = node
    root = nodes.get(b"/")
    if not isinstance(root, Directory):
        raise DamagedRecordError("the list has no root folder")
    return root


def _folder(nodes: dict[bytes, Node], path: bytes) -> tuple[Directory, bytes]:
    """Return the folder a path is in, and the last name of the path."""
    before, _, name = path.rpartition(b"/")
    folder = nodes.get(before or b"/")
    if not isinstance(folder, Directory):
        raise DamagedRecordError(f"{path!r} stands before its folder, or in none")
    return folder, name
