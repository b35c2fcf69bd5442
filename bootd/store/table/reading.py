"""Fetches a layer's table and unpacks it, as often as it is gone through.

What is held is the table as it is stored; its entries pass by one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final

from bootd.model.digest import Digest
from bootd.model.errors import DigestMismatchError, InvalidDigestError, InvalidLayerError
from bootd.model.registry.image import Compression
from bootd.store.table.annotations import Span, ZstdChunked
from bootd.store.table.entries import TableEntries
from bootd.store.table.rows import file_rows
from bootd.store.table.tar_split import parse_tar_split
from bootd.store.tar.decompress import frames

Fetch = Callable[[Span], Generator[bytes, None, None]]
"""Asks for a part of the blob; yields exactly its bytes, in pieces."""

UNPACKED_LIMIT: Final = 1 << 30
"""Most bytes that a table, or tar-split data, may unpack to."""
_FRAME_HEAD: Final = 8


class LayerTable:
    """A table that was fetched, and whose digest is the one that the manifest promises.

    Args:
        place: what the layer's annotations say.
        fetch: asks for parts of the blob.
        limit: most bytes the layer may unpack to.

    Attributes:
        rows: where the contents of its files are.

    Raises:
        DigestMismatchError: it is not the table that the manifest promises.
        InvalidLayerError: it is damaged or too large.
    """

    def __init__(self, place: ZstdChunked, fetch: Fetch, limit: int) -> None:
        table, tar_split = _fetch_both(place, fetch)
        _check(table, place.digest)
        self._table = table
        entries = self.entries()
        self.rows = file_rows(entries, place.table.start, limit)
        promised = entries.others.get("tarSplitDigest")
        # Without a digest in the table nothing vouches for it.
        self._tar_split = tar_split if promised else b""
        if self._tar_split:
            try:
                _check(self._tar_split, Digest(str(promised)))
            except InvalidDigestError as error:
                raise InvalidLayerError(f"a layer's table has no digest: {error}") from error

    def entries(self) -> TableEntries:
        """Return the entries, to go through once."""
        return TableEntries(_unpacked(self._table))

    def tar_stream(self) -> Iterator[bytes | int] | None:
        """Return the tar stream with sizes in place of contents; None where there is none."""
        return parse_tar_split(_unpacked(self._tar_split)) if self._tar_split else None


def _fetch_both(place: ZstdChunked, fetch: Fetch) -> tuple[bytes, bytes]:
    """Fetch table and tar-split data; every writer puts them beside each other."""
    table, tar_split = place.table, place.tar_split
    if tar_split is None:
        return _joined(fetch(table)), b""
    if tar_split.start != table.end + _FRAME_HEAD:
        return _joined(fetch(table)), _joined(fetch(tar_split))
    both = _joined(fetch(Span(table.start, tar_split.end)))
    return both[: table.size], both[table.size + _FRAME_HEAD :]


def _check(data: bytes, promised: Digest) -> None:
    running = promised.new_hash()
    running.update(data)
    if running.hexdigest() != promised.hex:
        raise DigestMismatchError(f"a layer's table is not {promised}")


def _joined(pieces: Iterable[bytes]) -> bytes:
    return b"".join(pieces)


def _unpacked(data: bytes) -> Iterator[bytes]:
    left = UNPACKED_LIMIT
    for piece in frames([data], Compression.ZSTD):
        left -= len(piece)
        if left < 0:
            raise InvalidLayerError(f"a layer's table unpacks to more than {UNPACKED_LIMIT} bytes")
        yield piece
