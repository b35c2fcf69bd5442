"""Sparse files in tar streams: where their data belongs, and the holes between.

Four ways to say it. Source: GNU tar manual 1.35, "Storing Sparse Files": the old GNU format (type
``S``), and the pax formats 0.0, 0.1 and 1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from bootd.model.errors import InvalidLayerError
from bootd.store.tar.header import (
    BLOCK,
    TarEntry,
    bounded,
    parse_decimal,
    parse_number,
    shown,
    without_nul,
)

Segment = tuple[int, int]
"""Offset and length of a piece of data."""
Take = Callable[[int], bytes]
"""Reads that many bytes of the stream."""

_SPARSE: Final = b"GNU.sparse."
_SEGMENTS_LIMIT: Final = 1_000_000
_SIZE_LIMIT: Final = (1 << 63) - 1
_DIGITS_LIMIT: Final = 20
"""Of a number: what 2**64 has. A longer one would be read again with each block."""
_HOLE: Final = bytes(64 << 10)
_NUMBER: Final = 12
_OLD_SEGMENTS: Final = range(386, 482, 2 * _NUMBER)
_OLD_EXTENDED: Final = 482
_OLD_SIZE: Final = slice(483, 495)
_OLD_MORE_SEGMENTS: Final = range(0, 504, 2 * _NUMBER)
_OLD_MORE_EXTENDED: Final = 504


def old_segments(entry: TarEntry, header: bytes, take: Take) -> list[Segment]:
    """Return the map of an old GNU sparse file, further header blocks included; sets its size.

    Raises:
        InvalidLayerError: the map is malformed.
    """
    segments = _old_block(header, _OLD_SEGMENTS)
    more = header[_OLD_EXTENDED]
    while more:
        _check_count(entry, len(segments))
        block = take(BLOCK)
        segments += _old_block(block, _OLD_MORE_SEGMENTS)
        more = block[_OLD_MORE_EXTENDED]
    size = parse_number(header[_OLD_SIZE])
    return _checked(entry, segments, size)


def pax_segments(
    entry: TarEntry, records: list[tuple[bytes, bytes]], take: Take
) -> list[Segment] | None:
    """Return the map of a pax sparse file, or None for any other; sets its size and name.

    Format 1.0 keeps the map before the data, so that `entry.stored` shrinks by it. A record without
    a value is none, and a size that is nowhere else is the header's.

    Raises:
        InvalidLayerError: the map is malformed.
    """
    for key, _ in records:
        if key.startswith(_SPARSE):
            break
    else:
        return None
    values = {key: value for key, value in dict(records).items() if value}
    size = values.get(b"GNU.sparse.size") or values.get(b"GNU.sparse.realsize")
    size = size or b"%d" % entry.size
    entry.name = without_nul(values.get(b"GNU.sparse.name", entry.name))
    major = values.get(b"GNU.sparse.major")
    if major is not None and major != b"0":
        if (major, values.get(b"GNU.sparse.minor")) != (b"1", b"0"):
            raise InvalidLayerError(f"entry {shown(entry.name)} is sparse in an unknown format")
        numbers = _numbers_before_data(entry, take)
    elif b"GNU.sparse.map" in values:
        numbers = [parse_decimal(text) for text in values[b"GNU.sparse.map"].split(b",") if text]
    elif b"GNU.sparse.size" in values:
        keys = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        numbers = [parse_decimal(value) for key, value in records if key in keys]
    else:
        return None
    if len(numbers) % 2:
        raise InvalidLayerError(f"entry {shown(entry.name)} has half a sparse segment")
    segments = list(zip(numbers[::2], numbers[1::2], strict=True))
    return _checked(entry, segments, parse_decimal(size))


def expand(pieces: Iterable[bytes], segments: Iterable[Segment], size: int) -> Iterator[bytes]:
    """Yield the whole content of a sparse file: its data with the holes filled by zeros."""
    source = iter(pieces)
    piece = b""
    at = 0
    for offset, length in segments:
        yield from _hole(offset - at)
        left = length
        while left:
            piece = piece or next(source)
            yield piece[:left]
            taken = min(left, len(piece))
            piece = piece[taken:]
            left -= taken
        at = offset + length
    yield from _hole(size - at)


def _hole(length: int) -> Iterator[bytes]:
    while length >= len(_HOLE):
        yield _HOLE
        length -= len(_HOLE)
    if length:
        yield _HOLE[:length]


def _old_block(block: bytes, offsets: range) -> list[Segment]:
    segments = []
    for at in offsets:
        first, second = block[at : at + _NUMBER], block[at + _NUMBER : at + 2 * _NUMBER]
        if not second[0]:
            break
        segments.append((parse_number(first), parse_number(second)))
    return segments


def _numbers_before_data(entry: TarEntry, take: Take) -> list[int]:
    """Read the map of format 1.0: a count, then offsets and lengths, one number a line."""
    text = b""
    wanted = 1
    lines: list[bytes] = []
    while len(lines) < wanted:
        if entry.stored < BLOCK:
            raise InvalidLayerError(f"entry {shown(entry.name)} has its sparse map cut off")
        entry.stored -= BLOCK
        *numbers, text = (text + take(BLOCK)).split(b"\n")
        lines += numbers
        if lines and wanted == 1:
            count = parse_decimal(lines[0])
            _check_count(entry, count)
            wanted = 1 + 2 * count
        if len(lines) < wanted and len(text) > _DIGITS_LIMIT:
            raise InvalidLayerError(f"entry {shown(entry.name)} has no number in its sparse map")
    return [parse_decimal(line) for line in lines[1:wanted]]


def _check_count(entry: TarEntry, count: int) -> None:
    if count > _SEGMENTS_LIMIT:
        raise InvalidLayerError(
            f"entry {shown(entry.name)} has more than {_SEGMENTS_LIMIT} sparse segments"
        )


def _checked(entry: TarEntry, segments: list[Segment], size: int) -> list[Segment]:
    entry.size = bounded(size, _SIZE_LIMIT, "size", entry.name)
    at = total = 0
    for offset, length in segments:
        if offset < at or length < 0:
            raise InvalidLayerError(f"entry {shown(entry.name)} has overlapping sparse segments")
        at = offset + length
        total += length
    if at > entry.size or total != entry.stored:
        raise InvalidLayerError(
            f"entry {shown(entry.name)} has a sparse map that does not fit its {entry.stored} "
            f"bytes of data"
        )
    return segments
