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
    folders, parents = _folders(root)
    wanted = _named_twice(folders)
    links: dict[int, HardLink] = {}
    if not wanted:
        return links
    # Few folders have any of these, so the walk passes through no others.
    wanted |= _leading_to(wanted, folders, parents)

    def of_interest(folder: Directory) -> Iterator[tuple[bytes, Node]]:
        return iter(sorted(one for one in folder.entries.items() if id(one[1]) in wanted))

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


def _folders(root: Directory) -> tuple[list[Directory], list[int]]:
    """Return all folders, the root first, and the place in this list of each one's parent."""
    folders, parents = [root], [0]
    seen = {id(root)}
    for number, folder in enumerate(folders):  # grows while it is walked
        if Directory not in map(type, folder.entries.values()):
            continue
        for name, node in folder.entries.items():
            if type(node) is Directory:
                if id(node) in seen:
                    raise InvalidTreeError(f"the folder {name!r} stands in the tree twice")
                seen.add(id(node))
                folders.append(node)
                parents.append(number)
    return folders, parents


def _leading_to(wanted: set[int], folders: list[Directory], parents: list[int]) -> set[int]:
    """Return the `id()` of each folder that has a wanted node in it or below it."""
    above_it: set[int] = set()
    for number, folder in enumerate(folders):
        if wanted.isdisjoint(map(id, folder.entries.values())):
            continue
        above = number
        while id(folders[above]) not in above_it:
            above_it.add(id(folders[above]))
            above = parents[above]
    return above_it


def _named_twice(folders: list[Directory]) -> set[int]:
    """Return the `id()` of each node but folders that has more than one name."""
    names = sorted(map(id, chain.from_iterable(one.entries.values() for one in folders)))
    return set(compress(names, map(eq, names, islice(names, 1, None))))
