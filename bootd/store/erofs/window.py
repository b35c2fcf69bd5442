"""Bounded access to the bytes of an image.

Nothing outside the image is ever read, and not much more than the image itself in all: structures
that overlap, which only a forged image has, use the allowance up instead of the machine.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Self

from bootd.durable import storage_errors
from bootd.model.errors import DamagedImageError

IMAGE_LIMIT: Final = 1 << 30
"""Largest image that is read, in bytes: some five million files."""
_CHUNK_BITS: Final = 16
_CHUNK: Final = 1 << _CHUNK_BITS
_READINGS: Final = 4
"""How often an image's every byte may be asked for; an honest one needs three."""


class Window:
    """The bytes of one image, read piece by piece and kept.

    The file is read, not mapped: a bad sector is then an error, not a fatal signal.

    Args:
        name: for messages.
        size: of the image, in bytes.
        descriptor: of the open file; None when `content` is given.
        content: all the bytes.

    Raises:
        DamagedImageError: the image is larger than `IMAGE_LIMIT`.
    """

    def __init__(
        self, name: str, size: int, *, descriptor: int | None = None, content: bytes = b""
    ) -> None:
        if size > IMAGE_LIMIT:
            raise DamagedImageError(f"{name} has {size} bytes, more than {IMAGE_LIMIT}")
        self.name = name
        self.size = size
        self._descriptor = descriptor
        self._content = content
        self._chunks: dict[int, bytes] = {}
        self._allowance = _READINGS * size

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open an image file.

        Raises:
            WriteFailedError: the kernel refused.
            DamagedImageError: it is larger than `IMAGE_LIMIT`.
        """
        with storage_errors("open", Path(path)):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return cls(os.fspath(path), os.fstat(descriptor).st_size, descriptor=descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Close the file; what was not read yet cannot be read any more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def damaged(self, what: str, offset: int) -> DamagedImageError:
        """Return the error that something at an offset is wrong."""
        return DamagedImageError(f"{self.name}: {what} (at byte {offset})")

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes.

        Raises:
            DamagedImageError: they are not all inside the image, or the allowance is used up.
            WriteFailedError: the kernel refused the read.
        """
        if offset < 0 or size < 0 or offset + size > self.size:
            raise self.damaged(f"{size} bytes are expected past the end, {self.size}", offset)
        self._allowance -= size
        if self._allowance < 0:
            raise self.damaged("structures overlap", offset)
        number = offset >> _CHUNK_BITS
        start = offset & _CHUNK - 1
        piece = self._chunk(number)[start : start + size]
        if len(piece) == size:
            return piece
        last = (offset + size - 1) >> _CHUNK_BITS
        chunks = b"".join(self._chunk(each) for each in range(number, last + 1))
        return chunks[start : start + size]

    def whole(self) -> bytes:
        """Return all the bytes; not kept and no part of the allowance."""
        return self._fetch(0, self.size)

    def _chunk(self, number: int) -> bytes:
        chunk = self._chunks.get(number)
        if chunk is None:
            start = number << _CHUNK_BITS
            chunk = self._fetch(start, min(_CHUNK, self.size - start))
            self._chunks[number] = chunk
        return chunk

    def _fetch(self, offset: int, size: int) -> bytes:
        if self._descriptor is None:
            piece = self._content[offset : offset + size]
        else:
            with storage_errors("read", Path(self.name)):
                piece = os.pread(self._descriptor, size, offset)
        if len(piece) != size:
            raise self.damaged(f"only {len(piece)} of {size} bytes can be read", offset)
        return piece
