"""Content-Encoding (RFC 9110 section 8.4): what a proxy packed on the way is unpacked again.

bootd asks for bytes as they are, and digests are over those; some proxies and storage pack answers
all the same, and say so.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from bootd.model.errors import ConnectionFailedError, ServerFailedError
from bootd.registry.wire.retry import TemporaryFailure

_PIECE: Final = 512 << 10
"""No more than this is unpacked at a time, however small what it comes from is."""
_GZIP: Final = frozenset({"gzip", "x-gzip"})
_DEFLATE: Final = "deflate"
_NONE: Final = frozenset({"", "identity"})
_GZIP_MAGIC: Final = b"\x1f\x8b"
_SHOWN: Final = 60


def coding_of(header: str) -> str:
    """Return what an answer is packed with, in lower case, or an empty string."""
    named = [one.strip().lower() for one in header.split(",")]
    return ", ".join(one for one in named if one not in _NONE)


def unpacked(pieces: Iterator[bytes], coding: str, host: str) -> Iterator[bytes]:
    """Yield what was packed, in pieces of at most some hundred KiB.

    Args:
        pieces: the body as it arrives.
        coding: see `coding_of`.
        host: who sent it, for messages.

    Raises:
        ServerFailedError: there is no unpacking this.
        TemporaryFailure: it is damaged, or ends too early.
    """
    if coding not in _GZIP and coding != _DEFLATE:
        raise ServerFailedError(
            f"{host} packs its answer with {coding[:_SHOWN]!r}, although it was asked for as it is",
            hint="A proxy on the way may do that; tell its administrator, or go without it.",
        )
    first = next(pieces, b"")
    while first and len(first) < len(_GZIP_MAGIC) and (more := next(pieces, b"")):
        first += more
    if coding in _GZIP and not first.startswith(_GZIP_MAGIC[: len(first)]):
        # It is marked and was not packed.
        yield from _all(first, pieces)
        return
    try:
        yield from _inflated(_all(first, pieces), _opener(coding, first))
    except zlib.error as error:
        message = f"{host} packed its answer with {coding}, and it cannot be unpacked: {error}"
        raise TemporaryFailure(ServerFailedError(message)) from error
    except EOFError as error:
        message = f"{host}: its answer, packed with {coding}, ended too early"
        raise TemporaryFailure(ConnectionFailedError(message)) from error


def _all(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _opener(coding: str, first: bytes) -> Callable[[], Any]:
    if coding in _GZIP:
        return lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)
    # "deflate" is the zlib format (RFC 9110 section 8.4.1.2); some servers leave its header out.
    has_header = (
        len(first) > 1
        and first[0] & 0x0F == zlib.DEFLATED
        and not ((first[0] << 8) + first[1]) % 31
    )
    return lambda: zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


def _inflated(pieces: Iterator[bytes], opener: Callable[[], Any]) -> Iterator[bytes]:
    stream, is_begun = opener(), False
    for piece in pieces:
        data = piece
        while data:
            is_begun = True
            out = stream.decompress(data, _PIECE)
            if out:
                yield out
            data = stream.unconsumed_tail
            if stream.eof:
                # A gzip file may be several, one after the other (RFC 1952 section 2.2).
                data = stream.unused_data.lstrip(b"\0")
                stream, is_begun = opener(), False
    while is_begun and (out := stream.decompress(b"", _PIECE)):
        yield out
    if is_begun and not stream.eof:
        raise EOFError
