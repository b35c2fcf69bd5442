"""Measuring: the fs-verity digests of files that are there, of one or of a whole store.

A store has tens of thousands of small files, so they are read and hashed many at a time, and no
path of them becomes a Path. Larger ones are read in pieces.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Final

from bootd.durable import storage_errors
from bootd.model.errors import NoVerityError, StorageError
from bootd.model.hash_algorithm import HashAlgorithm
from bootd.store.objects.verity import VerityHash, verity_digests

_PIECE: Final = 1 << 18
_SMALL: Final = 1 << 16
"""Files below this size are taken whole."""
_TOGETHER: Final = 64
"""So many files are measured at once."""


def measure(path: Path, algorithm: HashAlgorithm) -> bytes:
    """Return the digest of a file's content, read in pieces.

    Raises:
        NoVerityError: it is guarded by fs-verity, which the running kernel does not have.
        WriteFailedError: it cannot be read.
    """
    with storage_errors("read", path), _opened(path) as stream:
        return _digest_of(stream, algorithm)


def measure_all(paths: Iterable[str], algorithm: HashAlgorithm) -> Iterator[bytes | StorageError]:
    """Yield the digest of each file in turn, or the error that `measure` would raise."""
    remaining = iter(paths)
    while some := list(islice(remaining, _TOGETHER)):
        yield from _measure_some(some, algorithm)


def _measure_some(paths: list[str], algorithm: HashAlgorithm) -> list[bytes | StorageError]:
    measured: list[bytes | StorageError] = []
    small: dict[int, bytes] = {}
    for number, path in enumerate(paths):
        measured.append(b"")
        try:
            with storage_errors("read", path), _opened(path) as stream:
                if os.fstat(stream.fileno()).st_size < _SMALL:
                    small[number] = stream.readall()
                else:
                    measured[number] = _digest_of(stream, algorithm)
        except StorageError as error:
            measured[number] = error
    digests = verity_digests(list(small.values()), algorithm)
    for number, digest in zip(small, digests, strict=True):
        measured[number] = digest
    return measured


def _digest_of(stream: FileIO, algorithm: HashAlgorithm) -> bytes:
    running = VerityHash(algorithm)
    while data := stream.read(_PIECE):
        running.update(data)
    return running.digest()


def _opened(path: Path | str) -> FileIO:
    try:
        return FileIO(path)
    except OSError as error:
        # Linux, include/linux/fsverity.h: what fsverity_file_open() says without CONFIG_FS_VERITY.
        if error.errno == errno.EOPNOTSUPP:
            raise NoVerityError(
                f"this kernel has no fs-verity and cannot read {path}",
                hint="Boot a kernel with fs-verity; nothing was changed.",
            ) from error
        raise
