"""Layer blobs back to tar streams: plain, gzip (several members), zstd (several frames).

Every step yields little more than `STEP` bytes however well the input is compressed, and all steps
together at most a bound. A stream that is damaged, cut off, followed by something else or cut into
very many parts is refused.
Sources: OCI Image Specification 1.1, layer.md, "+gzip" and "+zstd" media types; RFC 1952
section 2.2 (a file is a series of members); RFC 8878 sections 3.1 and 3.1.2 (frames, and skippable
frames, which zstd:chunked layers use).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from itertools import chain
from typing import Any, Final, Protocol

from bootd.model.errors import InvalidLayerError, UnknownMediaTypeError
from bootd.model.registry.image import Compression, layer_compression
from bootd.store.tar.header import BLOCK, ZERO_BLOCK, is_header

STEP: Final = 256 << 10
UNPACKED_LIMIT: Final = 64 << 30
"""Most bytes a layer may unpack to."""

LEAST_PIECE: Final = 64 << 10
"""Readers take up a piece at a time, at a cost for what they have of the last one: pieces of a byte
would make that cost the work of the square of the size."""

_FREE_PARTS: Final = 10_000
_PART_BYTES: Final = 256
"""Beyond the first `_FREE_PARTS`, so much has to come of each member or frame on the average, since
each costs work. Layers with a frame for each file have a header of 512 bytes to each two frames."""
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)
"""A frame or a skippable one (RFC 8878, section 3.1)."""
_OTHERS: Final = {
    b"\xfd7zXZ\0": "xz",
    b"BZh91AY&SY": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
}
"""What other compressed files begin with, and what tools that write layers never leave."""
_INPUT_STEP: Final = 64 << 10
_ZSTD_WINDOW_LOG: Final = 27
"""128 MiB: what the zstd tool itself accepts unasked."""
_TOO_LARGE: Final = "too much memory"
"""The library's word for a larger window (ZSTD_error_frameParameter_windowTooLarge)."""
_ZSTD_MODULES: Final = ("compression.zstd", "backports.zstd", "zstandard")
_ZSTANDARD_STEP: Final = 1 << 10
"""Input per step of a decompressor that cannot bound its output: at most 32 MiB come of it."""


class Part(Protocol):
    """A gzip member or zstd frame being read, as the standard library's decompressors are."""

    @property
    def eof(self) -> bool:
        """Whether the end was reached."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without further input."""

    @property
    def unused_data(self) -> bytes:
        """What followed the end."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Take input and return at most so many bytes."""


def unpack(
    chunks: Iterable[bytes], media_type: str, limit: int = UNPACKED_LIMIT
) -> Iterator[bytes]:
    """Yield the tar stream of a layer, in pieces; all of `chunks` is consumed.

    What the blob begins with says how it is packed, whatever the media type does: that is wrong in
    images that were copied or converted, and nothing is risked, since blob and tar stream have the
    digests that were promised or are refused.

    Raises:
        UnknownMediaTypeError: the media type is unknown, or nothing here can read the blob.
        InvalidLayerError: the stream is damaged, or longer than `limit` bytes.
    """
    said = layer_compression(media_type)
    if said is None:
        raise UnknownMediaTypeError(f"a layer has the unknown media type {media_type[:200]!r}")
    source = iter(chunks)
    begin = _beginning(source)
    whole = chain([begin] if begin else [], source)
    compression = _compression_of(begin, said)
    pieces = joined(whole) if compression is Compression.NONE else frames(whole, compression)
    left = limit
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise InvalidLayerError(f"a layer unpacks to more than {limit} bytes")
        yield piece


def _beginning(source: Iterator[bytes]) -> bytes:
    """Return the first bytes of a stream: a block of them, or more, or all there are."""
    begin = b""
    for chunk in source:
        begin += chunk
        if len(begin) >= BLOCK:
            break
    return begin


def _compression_of(begin: bytes, said: Compression) -> Compression:
    """Return how a blob is packed that begins so; what is neither follows its media type."""
    if begin.startswith(_GZIP):
        return Compression.GZIP
    if _ZSTD.match(begin):
        return Compression.ZSTD
    for magic, name in _OTHERS.items():
        if begin.startswith(magic):
            raise UnknownMediaTypeError(
                f"a layer is compressed with {name}; images have gzip, zstd or nothing",
                hint="Push the image anew with a current tool: skopeo copy, podman push.",
            )
    block = begin[:BLOCK]
    is_tar = block == ZERO_BLOCK or (len(block) == BLOCK and is_header(block))
    return Compression.NONE if is_tar else said


def frames(chunks: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    """Return the content of gzip members or zstd frames, in pieces; it has no bound.

    However small the members or frames are, the pieces are not: all but the last have at least
    `LEAST_PIECE` bytes.

    Raises:
        UnknownMediaTypeError: nothing here can read them.
        InvalidLayerError: while reading: they are damaged or cut off.
    """
    reader = _zstd() if compression is Compression.ZSTD else _gzip()
    return joined(inflate(chunks, compression.value, *reader))


def joined(pieces: Iterable[bytes], least: int = LEAST_PIECE) -> Iterator[bytes]:
    """Yield the same bytes in pieces of which all but the last have so many bytes or more."""
    short: list[bytes] = []
    size = 0
    for piece in pieces:
        short.append(piece)
        size += len(piece)
        if size >= least:
            yield b"".join(short)
            short = []
            size = 0
    if short:
        yield b"".join(short)


def inflate(
    chunks: Iterable[bytes], kind: str, new_part: Callable[[], Part], *damage: type[Exception]
) -> Iterator[bytes]:
    """Yield the content of a series of members or frames.

    Args:
        chunks: the compressed stream.
        kind: its name, for messages.
        new_part: makes a reader of one member or frame.
        damage: what that raises when the stream is damaged.

    Raises:
        InvalidLayerError: the stream is empty, damaged or cut off, or it is cut into more members
            or frames than anybody needs.
    """
    part: Part | None = None
    seen = False
    parts = unpacked = 0
    try:
        for data in _small_steps(chunks):
            seen = True
            rest = data
            while rest or (part is not None and not part.needs_input):
                part = part or new_part()
                piece = part.decompress(rest, STEP)
                rest = b""
                if piece:
                    unpacked += len(piece)
                    yield piece
                if part.eof:
                    rest = part.unused_data
                    part = None
                    parts += 1
                    if parts > _FREE_PARTS + unpacked // _PART_BYTES:
                        raise InvalidLayerError(
                            f"a {kind} layer has {parts} parts in its first {unpacked} bytes; "
                            f"parts of at least {_PART_BYTES} bytes on the average are read"
                        )
    except damage as error:
        if _TOO_LARGE in str(error):
            raise InvalidLayerError(
                f"a {kind} layer wants {1 << _ZSTD_WINDOW_LOG} bytes and more of memory to be "
                f"unpacked: its window is larger than that",
                hint="Compress it with a window of 128 MiB or less, as zstd does without --long.",
            ) from error
        raise InvalidLayerError(f"a {kind} layer is damaged: {error}") from error
    if part is not None or not seen:
        raise InvalidLayerError(f"a {kind} layer ends in the middle")


def _small_steps(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if len(chunk) <= _INPUT_STEP:
            yield chunk
            continue
        for start in range(0, len(chunk), _INPUT_STEP):
            yield chunk[start : start + _INPUT_STEP]


def load_decompressors() -> None:
    """Load what blobs may need, for a process that can open no files when it begins to read."""
    _gzip()
    with suppress(UnknownMediaTypeError):
        _zstd()


def _gzip() -> tuple[Any, ...]:
    """Return the best gzip reader there is and what it raises: ISA-L's is twice as fast."""
    try:
        igzip = import_module("isal.igzip_lib")
    except ImportError:
        return ZlibMember, zlib.error
    return lambda: igzip.IgzipDecompressor(igzip.DECOMP_GZIP), igzip.IsalError


def _zstd() -> tuple[Any, ...]:
    """Return the best zstd reader there is and what it raises."""
    for name in _ZSTD_MODULES:
        try:
            module = import_module(name)
        except ImportError:
            continue
        return zstd_part(module)
    raise UnknownMediaTypeError(
        "a layer is compressed with zstd, and no Python module here can read that",
        hint="Install python3-zstandard or backports.zstd.",
    )


def zstd_part(module: Any) -> tuple[Any, ...]:
    """Return how one of the three zstd modules reads a frame, and what it raises."""
    if hasattr(module, "DecompressionParameter"):
        options = {module.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        return lambda: module.ZstdDecompressor(options=options), module.ZstdError
    return lambda: ZstandardFrame(module), module.ZstdError


class ZlibMember:
    """A gzip member read by zlib."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        """Whether the end was reached."""
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        """What followed the end."""
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Take input and return at most so many bytes."""
        piece = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = len(piece) < max_length
        return piece


class ZstandardFrame:
    """A zstd frame read by the ``zstandard`` module, which takes no bound for its output."""

    def __init__(self, module: Any) -> None:
        inner = module.ZstdDecompressor(max_window_size=1 << _ZSTD_WINDOW_LOG)
        self._inner = inner.decompressobj()
        self._pending = b""

    @property
    def eof(self) -> bool:
        """Whether the end was reached."""
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without further input."""
        return not self._pending

    @property
    def unused_data(self) -> bytes:
        """What followed the end."""
        return bytes(self._inner.unused_data) + self._pending

    def decompress(self, data: bytes, _max_length: int, /) -> bytes:
        """Take input and return what a small part of it unpacks to."""
        data = self._pending + data
        self._pending = data[_ZSTANDARD_STEP:]
        return bytes(self._inner.decompress(data[:_ZSTANDARD_STEP]))
