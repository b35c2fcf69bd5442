"""A tar stream, read once from front to back, as entries with their content.

Nothing is held but the current piece of the stream and the current headers. All that follows the
end of the archive is read too, since it counts to the layer's digest. What a global extended header
says is left aside, as the container tools do.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from bootd.model.errors import InvalidLayerError
from bootd.store.tar.header import (
    BLOCK,
    EXTENDED,
    GLOBAL_EXTENDED,
    LONG_LINK,
    LONG_NAME,
    OLD_SPARSE,
    UNTYPED,
    ZERO_BLOCK,
    TarEntry,
    apply_records,
    of_entry,
    parse_header,
    parse_records,
    shown,
)
from bootd.store.tar.sparse import Segment, expand, old_segments, pax_segments

_EXTENSION_LIMIT: Final = 1 << 20
"""Bytes of an extended header or a long name."""


@dataclass(frozen=True, slots=True)
class HeldContent:
    """Stands in a stream for the whole content of a file that is in the store.

    Attributes:
        size: how many bytes of the stream it stands for.
        verity: the digest of the object.
    """

    size: int
    verity: bytes


class TarReader:
    """Entries one after the other; the content of one is read before the next is asked for.

    Args:
        pieces: the stream, cut anywhere.
    """

    def __init__(self, pieces: Iterable[bytes | HeldContent]) -> None:
        self._stream = ByteStream(pieces)
        self._unread = 0
        self._padding = 0
        self._segments: list[Segment] | None = None
        self._size = 0
        self._last = b""

    def next(self) -> TarEntry | None:
        """Return the next entry, or None after the last, when the stream is read to its end.

        Raises:
            InvalidLayerError: the stream is damaged, cut off or uses a format nobody knows.
        """
        stream = self._stream
        stream.skip(self._unread)
        stream.pad(self._padding)
        self._unread = self._padding = 0
        self._segments = None
        try:
            entry = self._next()
        except InvalidLayerError as error:
            if not self._last or error.message.startswith("entry "):
                raise
            where = f"{error.message}, after entry {shown(self._last)}"
            raise InvalidLayerError(where, hint=error.hint) from error
        if entry is None:
            stream.drain()
        else:
            self._last = entry.name
        return entry

    def _next(self) -> TarEntry | None:
        stream = self._stream
        records: list[tuple[bytes, bytes]] = []
        long_name = long_link = b""
        while block := stream.header():
            entry = parse_header(block)
            kind = entry.kind
            if kind in EXTENDED:
                records = parse_records(self._extension(entry))
            elif kind == LONG_NAME:
                long_name = _text(self._extension(entry))
            elif kind == LONG_LINK:
                long_link = _text(self._extension(entry))
            elif kind == GLOBAL_EXTENDED:
                self._extension(entry)
            else:
                self._complete(entry, block, records, long_name)
                entry.link = long_link or entry.link
                return entry
        if records or long_name or long_link:
            raise InvalidLayerError("a layer's tar stream ends after an extended header")
        return None

    @property
    def place(self) -> int:
        """How many bytes of the stream stand before the content of the entry just returned."""
        return self._stream.place

    @property
    def segments(self) -> list[Segment] | None:
        """Where the stored bytes of the entry just returned belong in it, if it has holes."""
        return self._segments

    def held(self) -> HeldContent | None:
        """Return what stands for the content of the regular file just returned, if anything does.

        Raises:
            InvalidLayerError: it stands for more or less than the content.
        """
        content = self._stream.held()
        if content is not None:
            if content.size != self._unread or self._segments is not None:
                raise InvalidLayerError("a layer's table does not fit its tar stream")
            self._unread = 0
        return content

    def read(self) -> bytes:
        """Return the whole content of the entry just returned; for those that fit in memory."""
        if self._segments is None:
            unread, self._unread = self._unread, 0
            return self._stream.take(unread)
        return b"".join(self.content())

    def content(self) -> Iterator[bytes]:
        """Yield the content of the entry just returned, in pieces.

        Raises:
            InvalidLayerError: the stream ends within it.
        """
        unread, self._unread = self._unread, 0
        pieces = self._stream.pieces(unread)
        if self._segments is None:
            return pieces
        return expand(pieces, self._segments, self._size)

    def _complete(
        self, entry: TarEntry, block: bytes, records: list[tuple[bytes, bytes]], long_name: bytes
    ) -> None:
        if records:
            apply_records(entry, records)
        entry.name = long_name or entry.name
        if entry.kind == UNTYPED and entry.name.endswith(b"/"):
            # How tar said "folder" before it had a type for that.
            entry.file_type = stat.S_IFDIR
            entry.stored = entry.size = 0
        stored = entry.stored
        if entry.file_type == stat.S_IFREG:
            try:
                if entry.kind == OLD_SPARSE:
                    self._segments = old_segments(entry, block, self._stream.take)
                elif records:
                    self._segments = pax_segments(entry, records, self._stream.take)
            except InvalidLayerError as error:
                raise of_entry(entry.name, error) from error
        self._unread = entry.stored
        self._padding = -stored % BLOCK
        self._size = entry.size

    def _extension(self, entry: TarEntry) -> bytes:
        if entry.stored > _EXTENSION_LIMIT:
            raise InvalidLayerError(
                f"entry {shown(entry.name)} is an extended header of {entry.stored} bytes"
            )
        data = self._stream.take(entry.stored)
        self._stream.pad(-entry.stored % BLOCK)
        return data


class ByteStream:
    """Bytes by count from pieces of any size.

    A held content ends the stream for all who read bytes, so it is never taken for anything else.
    """

    __slots__ = ("_at", "_before", "_held", "_piece", "_pieces")

    def __init__(self, pieces: Iterable[bytes | HeldContent]) -> None:
        self._pieces = iter(pieces)
        self._before = 0
        self._piece = b""
        self._at = 0
        self._held: HeldContent | None = None

    @property
    def place(self) -> int:
        """How many bytes were taken."""
        return self._before + self._at

    def header(self) -> bytes:
        """Return the next block, or nothing at the end of the stream or of the archive.

        Raises:
            InvalidLayerError: there is one zero block where the end of an archive has two (POSIX,
                "pax Interchange Format"); a stream may end after one.
        """
        if self._at == len(self._piece) and not self._next_piece():
            return b""
        block = self.take(BLOCK)
        if block != ZERO_BLOCK:
            return block
        if any(any(piece) for piece in self._up_to(BLOCK)):
            raise InvalidLayerError(
                "a layer's tar stream has a single zero block before its end: a tar reader loses "
                "what follows it"
            )
        return b""

    def take(self, count: int) -> bytes:
        """Return exactly so many bytes."""
        end = self._at + count
        if end <= len(self._piece):
            data = self._piece[self._at : end]
            self._at = end
            return data
        return b"".join(self.pieces(count))

    def pieces(self, count: int) -> Iterator[bytes]:
        """Yield exactly so many bytes."""
        while count:
            if self._at == len(self._piece) and not self._next_piece():
                raise InvalidLayerError("a layer's tar stream ends in the middle")
            piece = self._piece[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            yield piece

    def pad(self, count: int) -> None:
        """Pass over so many bytes of padding; a stream may end before it."""
        if self._at + count <= len(self._piece):
            self._at += count
            return
        for _ in self._up_to(count):
            pass

    def _up_to(self, count: int) -> Iterator[bytes]:
        while count and (self._at < len(self._piece) or self._next_piece()):
            piece = self._piece[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            yield piece

    def skip(self, count: int) -> None:
        """Pass over so many bytes."""
        if self._at + count <= len(self._piece):
            self._at += count
            return
        for _ in self.pieces(count):
            pass

    def drain(self) -> None:
        """Read to the end."""
        while self._next_piece():
            pass

    def held(self) -> HeldContent | None:
        """Take the held content that comes next, if one does."""
        if self._at == len(self._piece):
            self._next_piece()
        content, self._held = self._held, None
        return content

    def _next_piece(self) -> bool:
        self._before += len(self._piece)
        self._at = 0
        self._piece = b""
        for piece in self._pieces if self._held is None else ():
            if isinstance(piece, HeldContent):
                self._held = piece
                return False
            if piece:
                self._piece = piece
                return True
        return False


def _text(data: bytes) -> bytes:
    return data.partition(b"\0")[0]
