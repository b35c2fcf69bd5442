"""Which nodes of a tree have several names, and which of the names comes first.

The first name is the one a depth-first walk in byte order meets first, as in a composefs dump file:
there it holds the node and the other names refer to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, compress, islice
from operator import eq

from bootd.model.errors import InvalidTreeError
from bootd.model.tree import Directory, Node


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
    several = _named_twice(root)
    links: dict[int, HardLink] = {}
    if not several:
        return links

    def of_interest(folder: Directory) -> Iterator[tuple[bytes, Node]]:
        found = folder.entries.items()
        return iter(
            sorted(one for one in found if type(one[1]) is Directory or id(one[1]) in several)
        )

    stack = [(id(root), of_interest(root))]
    while stack:
        folder, entries = stack[-1]
        for name, node in entries:
            if type(node) is Directory:
                stack.append((id(node), of_interest(node)))
                break
            links.setdefault(id(node), HardLink(name, folder, names=0)).names += 1
        else:
            stack.pop()
    return links


def _named_twice(root: Directory) -> set[int]:
    """Return the `id()` of each node with more than one name, none of which may be a folder."""
    folders = [root]
    seen = {id(root)}
    for folder in folders:  # grows while it is walked
        for name, node in folder.entries.items():
            if type(node) is Directory:
                if id(node) in seen:
                    raise InvalidTreeError(f"the folder {name!r} stands in the tree twice")
                seen.add(id(node))
                folders.append(node)
    found = sorted(map(id, chain.from_iterable(one.entries.values() for one in folders)))
    return set(compress(found, map(eq, found, islice(found, 1, None))))
