"""Contents of files out of parts of the blob, one after the other, each checked by its digest."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from hashlib import sha256

from bootd.model.errors import DigestMismatchError, InvalidLayerError, SizeMismatchError
from bootd.model.registry.image import Compression
from bootd.store.table.annotations import Span
from bootd.store.table.reading import Fetch
from bootd.store.table.rows import FileRows
from bootd.store.tar.decompress import frames


class FetchedContents:
    """Gives the contents of rows that were asked for, in ascending order.

    Args:
        rows: where the contents are.
        spans: the parts of the blob that hold the wanted ones, in order.
        fetch: asks for one of those parts; each is asked for when its first content is.
    """

    def __init__(self, rows: FileRows, spans: list[Span], fetch: Fetch) -> None:
        self._rows = rows
        self._bytes = _Parts(spans, fetch)

    def content(self, row: int) -> Iterator[bytes]:
        """Yield the content of a file in pieces; after the last it is known to be the right one.

        Raises:
            DigestMismatchError: it is not the content that the table promises.
            InvalidLayerError: it is damaged, or shorter than promised.
        """
        rows = self._rows
        packed = self._bytes.take(rows.starts[row], rows.ends[row])
        running = sha256()
        left = rows.sizes[row]
        for piece in frames(packed, Compression.ZSTD):
            wanted = piece[:left]
            left -= len(wanted)
            running.update(wanted)
            yield wanted
            if not left:
                break
        if left:
            raise InvalidLayerError("a layer has less of a file than its table says")
        if running.digest() != rows.digest(row):
            raise DigestMismatchError(
                f"bytes {rows.starts[row]} to {rows.ends[row]} of a layer hold a file with the "
                f"digest sha256:{running.hexdigest()}; its table promises "
                f"sha256:{rows.digest(row).hex()}"
            )

    def close(self) -> None:
        """Let go of the connection in the middle of a part, if need be."""
        self._bytes.close()


class _Parts:
    """The bytes of several parts of the blob, read forwards."""

    def __init__(self, spans: list[Span], fetch: Fetch) -> None:
        self._spans = iter(spans)
        self._fetch = fetch
        self._pieces: Generator[bytes, None, None] | None = None
        self._piece = b""
        self._at = self._end = 0
        """Where `_piece` begins in the blob, and where the current part ends."""

    def take(self, start: int, end: int) -> Iterator[bytes]:
        """Yield bytes of the blob, not before any that were asked for earlier."""
        while start >= self._end:
            self._open()
        at = start
        while at < end:
            piece_end = self._at + len(self._piece)
            if at >= piece_end:
                self._next_piece()
                continue
            found = self._piece[at - self._at : end - self._at]
            at += len(found)
            yield found

    def close(self) -> None:
        if self._pieces is not None:
            self._pieces.close()
            self._pieces = None

    def _open(self) -> None:
        self.close()
        span = next(self._spans, None)
        assert span is not None, "a content that was not planned for"
        self._pieces = self._fetch(span)
        self._piece = b""
        self._at, self._end = span.start, span.end

    def _next_piece(self) -> None:
        assert self._pieces is not None
        self._at += len(self._piece)
        self._piece = next(self._pieces, b"")
        if not self._piece:
            raise SizeMismatchError(f"a part of a layer ended before byte {self._end}")
