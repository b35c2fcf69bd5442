"""Which nodes of a tree have several names, and which of the names comes first.

The first name is the one a depth-first walk in byte order meets first, as in a composefs dump file:
there it holds the node and the other names refer to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, compress, islice
from operator import eq

from bootd.model.errors import InvalidTreeError
from bootd.model.tree import Directory

_Path = tuple[bytes, ...]


@dataclass(slots=True)
class HardLink:
    """A node with several names: its first name, the `id()` of the folder of that, the count."""

    name: bytes
    folder: int
    names: int


def find_hard_links(root: Directory) -> dict[int, HardLink]:
    """Return what is known of each node with more than one name, by the node's `id()`.

    Raises:
        InvalidTreeError: a folder stands under two names.
    """
    folders = _folders(root)
    found = sorted(map(id, chain.from_iterable(one.entries.values() for _, one in folders)))
    several = set(compress(found, map(eq, found, islice(found, 1, None))))
    links: dict[int, HardLink] = {}
    first: dict[int, _Path] = {}
    for path, folder in folders if several else ():
        if several.isdisjoint(map(id, folder.entries.values())):
            continue
        for name, node in folder.entries.items():
            number = id(node)
            if number not in several:
                continue
            # A depth-first walk in byte order meets paths, as lists of names, in their order.
            here = (*path, name)
            link = links.setdefault(number, HardLink(name, id(folder), 0))
            link.names += 1
            if here <= first.setdefault(number, here):
                first[number], link.name, link.folder = here, name, id(folder)
    return links


def _folders(root: Directory) -> list[tuple[_Path, Directory]]:
    """Return all folders of a tree with their names from the root on."""
    found: list[tuple[_Path, Directory]] = [((), root)]
    seen = {id(root)}
    for path, folder in found:  # grows while it is walked
        for name, node in folder.entries.items():
            if type(node) is Directory:
                if id(node) in seen:
                    raise InvalidTreeError(f"the folder {name!r} stands in the tree twice")
                seen.add(id(node))
                found.append(((*path, name), node))
    return found
