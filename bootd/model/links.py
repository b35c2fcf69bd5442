"""Following symbolic links with some folder as the root, in a tree or on the disk.

A link never leads out of that root: an absolute one begins there, and ``..`` at the root stays
there, as after chroot(2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from bootd.model.errors import InvalidTreeError
from bootd.model.tree import Directory, Metadata, Node, Symlink

MAX_LINKS: Final = 40
"""Symbolic links that are followed for one name, as in Linux (path_resolution(7))."""


def steps(path: bytes, look: Callable[[bytes], Node | None]) -> Iterator[tuple[bytes, Node | None]]:
    """Yield where each name of a path leads, in turn, and what stands there: never a link.

    What a name that is not there, or a file, means for the names after it is for the caller to say,
    which may stop.

    Args:
        path: names with slashes between them, from the root.
        look: returns what stands at such a path, links not followed; None: nothing.

    Raises:
        InvalidTreeError: there are more than 40 links on the way.
    """
    names = path.split(b"/")[::-1]
    places: list[tuple[bytes, Node | None]] = [(b"", Directory(Metadata()))]
    links = 0
    while names:
        name = names.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            del places[max(len(places) - 1, 1) :]
            yield places[-1]
            continue
        place = b"/".join((places[-1][0], name)) if len(places) > 1 else name
        node = look(place)
        if not isinstance(node, Symlink):
            places.append((place, node))
            yield places[-1]
            continue
        links += 1
        if links > MAX_LINKS:
            raise InvalidTreeError(f"/{path.decode(errors='replace')} leads in circles")
        if node.target.startswith(b"/"):
            del places[1:]
        names += node.target.split(b"/")[::-1]
