"""What a process tells that reads a tar stream: its entries, and where their contents are in it.

A message is three numbers, then pairs of numbers, then lines of a layer's index (see `_HEAD`). Each
regular file that is too large to stand in its line has a pair: where in the stream its content
begins, and how many bytes of the stream are in it. If those are fewer than its size it has holes,
and messages without lines follow, whose pairs tell where each piece of data belongs and how long
it is, until all bytes have a place.

Nothing that is told is believed. Lines are parsed as if somebody had altered them, and the digests
in them count for nothing: whoever is told takes the contents from the stream and measures them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct, unpack_from
from typing import Final

from bootd.model.errors import DamagedRecordError
from bootd.model.tree import Directory, RegularFile
from bootd.store.images.dumpfile import DumpEntry, format_entry, parse_lines
from bootd.store.layer_entry import DEPTH_LIMIT

NO_DIGEST: Final = bytes(32)
"""Stands in the line of a file whose content is still to be measured."""

Pair = tuple[int, int]

_HEAD: Final = Struct("<QII")
"""How far the stream was read, how many pairs there are, and how many bytes the lines have."""
_PAIR: Final = Struct("<QQ")
_LINES: Final = 64 << 10
_PAIRS: Final = 4_096
_LIMIT: Final = 2 << 20
"""Bytes of a message: more than so many lines have, and the longest one after them."""
_UNTOLD: Final = 1 << 20
"""Bytes of the stream, after which it is told that they were read."""


class EntryTeller:
    """Puts messages together.

    Args:
        write: takes them.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._lines: list[bytes] = []
        self._size = 0
        self._pairs: list[Pair] = []
        self._told = 0

    def add(self, entry: DumpEntry, content: Pair | None) -> None:
        """Tell an entry soon, and the pair of its content if it has one."""
        line = format_entry(entry)
        self._lines.append(line)
        self._size += len(line)
        if content is not None:
            self._pairs.append(content)

    def add_pieces(self, pieces: Iterator[Pair], place: int) -> None:
        """Tell now of what the file that was added last consists."""
        self.flush(place)
        for piece in pieces:
            self._pairs.append(piece)
            if len(self._pairs) == _PAIRS:
                self.flush(place)
        if self._pairs:
            self.flush(place)

    def flush_if_due(self, place: int, *, waits: bool) -> None:
        """Tell what there is if that is much, or if more may not come soon."""
        if self._size >= _LINES or place - self._told >= _UNTOLD or (waits and self._size):
            self.flush(place)

    def flush(self, place: int) -> None:
        """Tell all, and how far the stream was read."""
        pairs = b"".join([_PAIR.pack(*pair) for pair in self._pairs])
        head = _HEAD.pack(place, len(self._pairs), self._size)
        self._write(b"".join((head, pairs, *self._lines)))
        self._lines.clear()
        self._pairs.clear()
        self._size = 0
        self._told = place


class Message:
    """A message that was received.

    Attributes:
        place: how far the stream was read, or will be when its contents are.
        pairs: see above.
        entries: those of its lines.
    """

    __slots__ = ("entries", "pairs", "place")

    def __init__(self, place: int, pairs: list[int], lines: bytes) -> None:
        self.place = place
        numbers = iter(pairs)
        self.pairs: Iterator[Pair] = zip(numbers, numbers, strict=True)
        self.entries = [_checked(entry) for entry in parse_lines(lines)]


def take_message(received: bytearray) -> Message | None:
    """Take the first message out of what was received; None: it is not there as a whole.

    Raises:
        DamagedRecordError: it is none that `EntryTeller` puts together.
    """
    if len(received) < _HEAD.size:
        return None
    place, count, size = _HEAD.unpack_from(received)
    lines = _HEAD.size + count * _PAIR.size
    end = lines + size
    if end > _LIMIT:
        raise DamagedRecordError(f"a message has {end} bytes")
    if len(received) < end:
        return None
    pairs = list(unpack_from(f"<{2 * count}Q", received, _HEAD.size))
    text = bytes(received[lines:end])
    del received[:end]
    return Message(place, pairs, text)


def needs_content(entry: DumpEntry) -> bool:
    """Return whether an entry has a pair."""
    return isinstance(entry.node, RegularFile) and entry.node.verity is not None


def _checked(entry: DumpEntry) -> DumpEntry:
    """Refuse an entry that no tar stream comes to, however it looks; see `layer_entry`."""
    if entry.path.count(b"/") > DEPTH_LIMIT + 1:
        raise DamagedRecordError("an entry lies too deep")
    if entry.path == b"/" and not isinstance(entry.node, Directory):
        raise DamagedRecordError("the root is no folder")
    entry.links = 1
    return entry
