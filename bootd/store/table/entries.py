"""A table's JSON, one entry at a time: a hundred thousand of them at once would fill the memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from bootd.model.errors import InvalidLayerError
from bootd.store.tar.decompress import joined

ENTRY_LIMIT: Final = 1 << 20
"""Most characters of one entry."""

_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_VERSION: Final = 1


class TableEntries:
    """The entries of a table, and after the last of them what stood beside them.

    Args:
        pieces: the JSON text, cut anywhere.

    Attributes:
        others: the members of the outer object but for ``entries``.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.others: dict[str, Any] = {}
        self._pieces = joined(pieces)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the entries; the text is read to its end.

        Raises:
            InvalidLayerError: it is no table.
        """
        seen = False
        try:
            self._expect("{")
            while True:
                key = self._value()
                self._expect(":")
                if key == "entries" and not seen:
                    seen = True
                    yield from self._array()
                elif isinstance(key, str) and key not in self.others and key != "entries":
                    self.others[key] = self._value()
                else:
                    raise InvalidLayerError("a layer's table has a key twice, or none")
                if self._expect(",}") == "}":
                    break
        except (ValueError, RecursionError) as error:
            raise InvalidLayerError(f"a layer's table is not JSON: {error}") from error
        if self._next() or not seen or self.others.get("version") != _VERSION:
            raise InvalidLayerError("a layer's table is not complete, or of an unknown version")

    def _array(self) -> Iterator[dict[str, Any]]:
        self._expect("[")
        if self._next() == "]":
            self._at += 1
            return
        while True:
            value = self._value()
            if not isinstance(value, dict):
                raise InvalidLayerError("a layer's table has an entry that is no object")
            yield value
            if self._expect(",]") == "]":
                return

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except ValueError:
                if len(self._text) - self._at > ENTRY_LIMIT or not self._fill():
                    raise
                continue
            # A number that touches the end of what was read may go on.
            if end < len(self._text) or not self._fill():
                self._at = end
                return value

    def _expect(self, allowed: str) -> str:
        found = self._next()
        if not found or found not in allowed:
            raise InvalidLayerError(f"a layer's table has {found!r} where {allowed!r} may stand")
        self._at += 1
        return found

    def _next(self) -> str:
        """Return the next character that is not blank, without passing it; none at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            assert blanks is not None
            self._at = blanks.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def _fill(self) -> bool:
        for piece in self._pieces:
            self._text = self._text[self._at :] + self._decoder.decode(piece)
            self._at = 0
            return True
        self._decoder.decode(b"", final=True)
        return False
