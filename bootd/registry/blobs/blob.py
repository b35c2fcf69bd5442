"""Blob streams: bytes that are only trusted once the stream has ended normally."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Self

from bootd.model.digest import Digest
from bootd.model.errors import DigestMismatchError, SizeMismatchError
from bootd.model.registry.image import Descriptor


class BlobStream(Iterator[bytes]):
    """The bytes of one blob, in pieces, as they arrive.

    The stream ends normally only if size and digest were right; who consumes it must commit nothing
    before. Close it (it is a context manager) when giving up early.

    Attributes:
        fresh_start_may_help: whether bytes came from an earlier run or a mirror, so that reading
            the blob anew may succeed where this stream failed.
    """

    def __init__(self, chunks: Generator[bytes, None, None]) -> None:
        self._chunks = chunks
        self.fresh_start_may_help = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forget(self) -> None:
        """Drop what was fetched so far; the next stream of this blob begins with nothing."""

    def close(self) -> None:
        """Stop: connections are closed, what was fetched so far is kept to resume."""
        self._chunks.close()


def verified(
    blob: Descriptor, chunks: Generator[bytes, None, None]
) -> Generator[bytes, None, None]:
    """Pass chunks through, and end normally only if they are the blob.

    Raises:
        SizeMismatchError: they are more or fewer than the descriptor says; no surplus is passed on.
        DigestMismatchError: they have another digest.
    """
    running = blob.digest.new_hash()
    count = 0
    with closing(chunks):
        for chunk in chunks:
            count += len(chunk)
            if count > blob.size:
                raise SizeMismatchError(f"{blob.digest} is longer than its {blob.size} bytes")
            running.update(chunk)
            yield chunk
    if count < blob.size:
        raise SizeMismatchError(f"{blob.digest} ended after {count} of {blob.size} bytes")
    if running.hexdigest() != blob.digest.hex:
        raise DigestMismatchError(
            f"the bytes served as {blob.digest} have the digest "
            f"{blob.digest.algorithm}:{running.hexdigest()}"
        )


def check_digest(data: bytes, expected: Digest, what: str) -> None:
    """Refuse bytes that do not have a digest.

    Raises:
        DigestMismatchError: they do not.
    """
    running = expected.new_hash()
    running.update(data)
    if running.hexdigest() != expected.hex:
        raise DigestMismatchError(
            f"{what}: asked for {expected}, got {expected.algorithm}:{running.hexdigest()}"
        )


def skip(chunks: Iterable[bytes], count: int) -> Iterator[bytes]:
    """Yield all but the first `count` bytes."""
    for chunk in chunks:
        if count >= len(chunk):
            count -= len(chunk)
        else:
            yield chunk[count:]
            count = 0
