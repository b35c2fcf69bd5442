"""Where the contents of image files come from, seen from the merge.

The store answers this; the merge only knows the shape, since neighbours do not import each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from bootd.model.tree import RegularFile


class Openable(Protocol):
    """Opens the contents of files."""

    def open(self, file: RegularFile) -> int:
        """Return a descriptor, at offset 0, of a file's content; the caller closes it.

        Of an image it is only asked for files that have an object (`RegularFile.verity`).

        Raises:
            DamagedObjectError: it is missing.
        """
        ...


class Contents(Openable, Protocol):
    """Also measures contents the way the images name them."""

    def measure(self, chunks: Iterable[bytes]) -> bytes:
        """Return the digest of a content that comes in pieces, as objects are named."""
        ...
