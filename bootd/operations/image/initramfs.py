"""What is in an initramfs: the names of its files, read without unpacking it.

It is one or more cpio archives ("newc"), one after the other with zeros between, of which the last
may be compressed (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). Only a piece
of it is in memory at a time, and what is read and how many names there are is bounded.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from typing import IO, Final

from bootd.model.errors import BootdError, InvalidLayerError
from bootd.store.tar.decompress import inflate, unpack

_MAGICS: Final = (b"070701", b"070702")
_MAGIC_BYTES: Final = 6
_HEADER_BYTES: Final = 110
_SIZE: Final = slice(54, 62)
_NAME_SIZE: Final = slice(94, 102)
"""Hexadecimal fields of the header (cpio(5), "New ASCII Format")."""
_ALIGNMENT: Final = 4
_LAST: Final = "TRAILER!!!"
_MAX_NAME: Final = 4_096
_MAX_BYTES: Final = 8 << 30
_MAX_NAMES: Final = 1_000_000
_MAX_WRAPPINGS: Final = 3
_CHUNK: Final = 256 << 10
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_XZ: Final = b"\xfd7zXZ"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"


def member_names(stream: IO[bytes]) -> Iterator[str]:
    """Yield the names in an initramfs, in order.

    Args:
        stream: the file, at its beginning.

    Raises:
        InvalidLayerError: it is damaged, or compressed in a way that is not known here.
        UnknownMediaTypeError: nothing here can read zstd.
    """
    pieces = _Pieces(iter(lambda: stream.read(_CHUNK), b""))
    wrappings = names = 0
    while magic := pieces.next_magic():
        if magic in _MAGICS:
            for name in _archive(pieces):
                names += 1
                if names > _MAX_NAMES:
                    raise InvalidLayerError(f"it has more than {_MAX_NAMES} files")
                yield name
            continue
        wrappings += 1
        if wrappings > _MAX_WRAPPINGS:
            raise InvalidLayerError(f"it is compressed {wrappings} times")
        pieces = _Pieces(_unpacked(magic, pieces.rest()))


def what_is_wrong(error: BootdError) -> str:
    """Return why an initramfs could not be read, for people."""
    return error.message.replace("a layer", "it")


class _Pieces:
    """A stream of which a few bytes at a time are taken."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self._taken = 0

    def next_magic(self) -> bytes:
        """Return the first six bytes after any zeros, without taking them; fewer at the end."""
        while not self._buffer.lstrip(b"\0"):
            self._taken += len(self._buffer)
            self._buffer = next(self._chunks, b"")
            if not self._buffer:
                return b""
        kept = self._buffer.lstrip(b"\0")
        self._taken += len(self._buffer) - len(kept)
        self._buffer = kept
        self._fill(_MAGIC_BYTES)
        return self._buffer[:_MAGIC_BYTES]

    def take(self, count: int) -> bytes:
        """Return exactly so many bytes."""
        self._fill(count)
        if len(self._buffer) < count:
            raise InvalidLayerError("it ends in the middle")
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        self._taken += count
        return data

    def skip(self, count: int) -> None:
        """Pass over so many bytes."""
        while count > 0:
            step = min(count, _CHUNK)
            self.take(step)
            count -= step

    def align(self, begin: int) -> None:
        """Pass over what fills up to a multiple of four since a place."""
        self.skip(-(self._taken - begin) % _ALIGNMENT)

    @property
    def place(self) -> int:
        """How many bytes were taken."""
        return self._taken

    def rest(self) -> Iterator[bytes]:
        """Yield all that is left."""
        yield self._buffer
        yield from self._chunks

    def _fill(self, count: int) -> None:
        parts = [self._buffer]
        there = len(self._buffer)
        while there < count and (chunk := next(self._chunks, b"")):
            parts.append(chunk)
            there += len(chunk)
        self._buffer = b"".join(parts) if len(parts) > 1 else self._buffer


def _archive(pieces: _Pieces) -> Iterator[str]:
    """Yield the names of one archive, up to its end mark."""
    begin = pieces.place
    while True:
        header = pieces.take(_HEADER_BYTES)
        if header[:_MAGIC_BYTES] not in _MAGICS:
            raise InvalidLayerError(f"it has {header[:_MAGIC_BYTES]!r} where a file should begin")
        size, name_size = _number(header[_SIZE]), _number(header[_NAME_SIZE])
        if name_size > _MAX_NAME or pieces.place + size > _MAX_BYTES:
            raise InvalidLayerError(f"it has a file of {size} bytes, or a name of {name_size}")
        name = pieces.take(name_size).rstrip(b"\0").decode(errors="replace")
        pieces.align(begin)
        if name == _LAST:
            return
        yield name
        pieces.skip(size)
        pieces.align(begin)


def _number(field: bytes) -> int:
    try:
        return int(field, 16)
    except ValueError as error:
        raise InvalidLayerError(f"it has {field!r} where a number should be") from error


def _unpacked(magic: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if magic.startswith(_GZIP):
        return unpack(chunks, f"{_LAYER}+gzip", _MAX_BYTES)
    if magic.startswith(_ZSTD):
        return unpack(chunks, f"{_LAYER}+zstd", _MAX_BYTES)
    if magic.startswith(_XZ):
        return inflate(chunks, "xz", lzma.LZMADecompressor, lzma.LZMAError)
    raise InvalidLayerError(f"it begins with {magic!r}, which is no cpio, gzip, xz or zstd")
