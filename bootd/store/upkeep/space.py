"""How much room an import will take, before any byte is fetched.

What a layer unpacks to is known only afterwards, so these are estimates to the safe side: objects
that the store already has are not taken off, and blobs are counted beside what they unpack to, as
the downloads that can be resumed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.durable import storage_errors
from bootd.model.errors import NoSpaceError
from bootd.model.registry.image import Compression, Descriptor

_UNPACKED_RATIO: Final = {Compression.NONE: 1, Compression.GZIP: 3, Compression.ZSTD: 4}
"""Unpacked bytes for one of the blob; Debian images have 2.6 with gzip, 3.0 with zstd."""
_BYTES_PER_FILE: Final = 16 << 10
"""Debian images have 24 KiB of unpacked content for each entry."""
_EROFS_BYTES_PER_FILE: Final = 512
_RESERVE: Final = 32 << 20
_RESERVED_INODES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Space:
    """Room on a file system."""

    bytes: int
    inodes: int


def needed_space(layers: Iterable[Descriptor]) -> Space:
    """Return the room that importing these layers and composing an image of them takes."""
    size, inodes = _RESERVE, _RESERVED_INODES
    for layer in layers:
        unpacked = layer.size * _UNPACKED_RATIO[layer.compression]
        files = unpacked // _BYTES_PER_FILE
        size += layer.size + unpacked + files * _EROFS_BYTES_PER_FILE
        inodes += files
    return Space(size, inodes)


def check_space(path: Path, needed: Space) -> None:
    """Refuse what would not fit on the file system of `path`.

    Raises:
        NoSpaceError: with what is needed and what is free.
        WriteFailedError: the file system cannot be asked.
    """
    with storage_errors("ask for the free space of", path):
        room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize
    if free < needed.bytes:
        raise NoSpaceError(
            f"{path} has {_megabytes(free)} free, and the image may need {_megabytes(needed.bytes)}"
        )
    # File systems without a fixed number of inodes say that they have none at all.
    if room.f_files and room.f_favail < needed.inodes:
        raise NoSpaceError(
            f"{path} has {room.f_favail} inodes free, and the image may need {needed.inodes}"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.0f} MB"
