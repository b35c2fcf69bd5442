"""Which nodes of a tree have several names, and which of the names comes first.

The first name is the one a depth-first walk in byte order meets first, as in a composefs dump file:
there it holds the node and the other names refer to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootd.model.errors import InvalidTreeError
from bootd.model.tree import Directory


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
    first: dict[int, tuple[bytes, int]] = {}
    links: dict[int, HardLink] = {}
    folders = {id(root)}
    stack = [(id(root), iter(sorted(root.entries.items())))]
    while stack:
        folder, entries = stack[-1]
        for name, node in entries:
            number = id(node)
            if isinstance(node, Directory):
                if number in folders:
                    raise InvalidTreeError(f"the folder {name!r} stands in the tree twice")
                folders.add(number)
                stack.append((number, iter(sorted(node.entries.items()))))
                break
            if number not in first:
                first[number] = (name, folder)
            elif number in links:
                links[number].names += 1
            else:
                links[number] = HardLink(*first[number], names=2)
        else:
            stack.pop()
    return links
