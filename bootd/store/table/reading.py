"""Fetches a layer's table and unpacks it, as often as it is gone through.

What is held is the table as it is stored; its entries pass by one at a time.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final, Protocol

from bootd.model.digest import Digest
from bootd.model.errors import DigestMismatchError, InvalidDigestError, InvalidLayerError
from bootd.model.registry.image import Compression, Descriptor
from bootd.store.table.annotations import Estargz, Span, ZstdChunked, checked_span
from bootd.store.table.entries import TableEntries
from bootd.store.table.rows import FileRows, file_rows
from bootd.store.table.tar_split import parse_tar_split
from bootd.store.tar.decompress import frames
from bootd.store.tar.header import TarEntry
from bootd.store.tar.reader import TarReader

Fetch = Callable[[Span], Generator[bytes, None, None]]
"""Asks for a part of the blob; yields exactly its bytes, in pieces."""

UNPACKED_LIMIT: Final = 1 << 30
"""Most bytes that a table, or tar-split data, may unpack to."""
FOOTER_SIZE: Final = 51

_FRAME_HEAD: Final = 8
_FOOTER: Final = re.compile(rb"\x1f\x8b.{10}SG\x16\x00([0-9a-f]{16})STARGZ.*", re.DOTALL)
_INDEX: Final = b"stargz.index.json"


class LayerTable(Protocol):
    """A table that was fetched, and whose digest is the one that the manifest promises.

    Attributes:
        rows: where the contents of its files are.
        compression: how each of them is packed.
    """

    rows: FileRows
    compression: Compression

    def entries(self) -> TableEntries:
        """Return the entries, to go through once."""

    def tar_stream(self) -> Iterator[bytes | int] | None:
        """Return the tar stream with sizes in place of contents; None where there is none."""

    def own_entry(self) -> tuple[TarEntry, Iterator[bytes]] | None:
        """Return the tar entry that the table itself is, and its content, if it is one."""


class ZstdChunkedTable:
    """The table of a zstd:chunked layer; see `LayerTable`."""

    compression = Compression.ZSTD

    def __init__(self, place: ZstdChunked, fetch: Fetch, limit: int) -> None:
        table, tar_split = _fetch_both(place, fetch)
        _check(table, place.digest)
        self._table = table
        entries = self.entries()
        self.rows = file_rows(entries, place.table.start, limit, ends_told=True)
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
        return TableEntries(_unpacked(self._table, Compression.ZSTD))

    def tar_stream(self) -> Iterator[bytes | int] | None:
        """Return the tar stream with sizes in place of contents."""
        if not self._tar_split:
            return None
        return parse_tar_split(_unpacked(self._tar_split, Compression.ZSTD))

    def own_entry(self) -> None:
        """Return nothing: the table is no part of the tar stream."""


class EstargzTable:
    """The table of an eStargz layer: a file at the end of the tar stream; see `LayerTable`."""

    compression = Compression.GZIP

    def __init__(self, layer: Descriptor, place: Estargz, fetch: Fetch, limit: int) -> None:
        footer = _joined(fetch(Span(layer.size - FOOTER_SIZE, layer.size)))
        match = _FOOTER.fullmatch(footer)
        if match is None:
            raise InvalidLayerError("a layer said to be eStargz has no footer")
        start = int(match[1], 16)
        self._table = _joined(fetch(checked_span(layer, start, layer.size - FOOTER_SIZE)))
        running = place.digest.new_hash()
        self._size = 0
        for piece in self._text():
            running.update(piece)
            self._size += len(piece)
        if running.hexdigest() != place.digest.hex:
            raise DigestMismatchError(f"a layer's table is not {place.digest}")
        self.rows = file_rows(self.entries(), start, limit, ends_told=False)

    def entries(self) -> TableEntries:
        """Return the entries, to go through once."""
        return TableEntries(self._text())

    def tar_stream(self) -> None:
        """Return nothing: the format has no tar-split data."""

    def own_entry(self) -> tuple[TarEntry, Iterator[bytes]]:
        """Return the table as an entry.

        No digest is known of the header that stands before it in the blob. Writers leave all of it
        empty but name and size (containerd/stargz-snapshotter, estargz/gzip.go).
        """
        entry = TarEntry(_INDEX, b"", stat.S_IFREG, 0, 0, 0, self._size, self._size, 0, 0, b"", 0)
        return entry, self._text()

    def _text(self) -> Iterator[bytes]:
        reader = TarReader(_unpacked(self._table, Compression.GZIP))
        found: TarEntry | None = reader.next()
        if found is None or found.name != _INDEX:
            raise InvalidLayerError("an eStargz layer has something else where its table should be")
        if found.size > UNPACKED_LIMIT:
            # A file with holes may claim to be larger than what was unpacked.
            raise InvalidLayerError(f"a layer's table is larger than {UNPACKED_LIMIT} bytes")
        return reader.content()


def read_table(
    layer: Descriptor, place: ZstdChunked | Estargz, fetch: Fetch, limit: int
) -> LayerTable:
    """Fetch and check a table.

    Args:
        layer: the layer's descriptor.
        place: what its annotations say.
        fetch: asks for parts of the blob.
        limit: most bytes the layer may unpack to.

    Raises:
        DigestMismatchError: it is not the table that the manifest promises.
        InvalidLayerError: it is damaged or too large.
    """
    match place:
        case ZstdChunked():
            return ZstdChunkedTable(place, fetch, limit)
        case Estargz():
            return EstargzTable(layer, place, fetch, limit)


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


def _unpacked(data: bytes, compression: Compression) -> Iterator[bytes]:
    left = UNPACKED_LIMIT
    for piece in frames([data], compression):
        left -= len(piece)
        if left < 0:
            raise InvalidLayerError(f"a layer's table unpacks to more than {UNPACKED_LIMIT} bytes")
        yield piece
