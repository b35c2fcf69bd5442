"""How much an image may have in extended attributes, which are all in memory when it is composed.

An entry's first 512 bytes go with the entry: labels, capabilities and signatures are that small,
and the number of entries has a bound of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bootd.model.errors import InvalidLayerError

ATTRIBUTES_LIMIT: Final = 64 << 20
"""Bytes of large attributes in all layers of an image together."""
_WITH_THE_ENTRY: Final = 512


class AttributeBound:
    """Adds up what the entries of layers have.

    Args:
        what: whose entries they are, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._size = 0

    def add(self, xattrs: Mapping[bytes, bytes]) -> None:
        """Take the attributes of the next entry.

        Raises:
            InvalidLayerError: they are too many together with those before.
        """
        size = sum(len(name) + len(value) for name, value in xattrs.items())
        self._size += max(0, size - _WITH_THE_ENTRY)
        if self._size > ATTRIBUTES_LIMIT:
            raise InvalidLayerError(
                f"the extended attributes of {self._what} have more than {ATTRIBUTES_LIMIT} bytes",
                hint="Rebuild the image with fewer or smaller extended attributes (getfattr).",
            )
