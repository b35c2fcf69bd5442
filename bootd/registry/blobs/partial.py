"""Unfinished downloads, kept so that a later run goes on where this one stopped.

``partial/<digest>`` holds bytes of a blob at the places they have in it: those that arrived after
it had been waited for some seconds. What came before is a hole (lseek(2), SEEK_DATA), quickly
fetched again; so what arrives fast is not written twice. Nothing relies on the bytes: they are not
synced, a damaged one is found out by the digest at the end, and all together have a bound. A file
is locked (flock) by the one process that adds to it. Failures to keep bytes are not failures of the
download: it goes on without.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from bootd.durable import Disk, storage_errors
from bootd.model.digest import Digest
from bootd.model.errors import InvalidDigestError, StorageError, WriteFailedError
from bootd.model.registry.image import Descriptor
from bootd.registry.settings import RegistrySettings

_log = logging.getLogger(__name__)

_CHUNK: Final = 512 << 10
_GRAIN: Final = 64 << 10
"""Where a hole may end: a multiple of every file system's block size."""
_MAX_FILES: Final = 10_000


class PartialBlob:
    """The kept bytes of one blob, locked.

    Attributes:
        start: where in the blob they begin.
        end: where they ended when the file was opened.
        is_empty: whether there is none, now.
    """

    def __init__(self, path: Path, descriptor: int, disk: Disk) -> None:
        self._path = path
        self._descriptor = descriptor
        self._disk = disk
        self.end = os.fstat(descriptor).st_size
        self.start = _first_kept(descriptor, self.end)
        self.is_empty = self.start == self.end
        if self.is_empty:
            os.ftruncate(descriptor, 0)

    def replay(self) -> Iterator[bytes]:
        """Yield the bytes that were there at the start.

        Raises:
            StorageError: they cannot all be read any more.
        """
        place = self.start
        while place < self.end:
            with storage_errors("read", self._path):
                data = os.pread(self._descriptor, min(_CHUNK, self.end - place), place)
            if not data:
                raise WriteFailedError(f"{self._path} ends at {place} of {self.end} bytes")
            place += len(data)
            yield data

    def keep(self, place: int, data: bytes) -> bool:
        """Keep the bytes that follow, or begin to; return whether that worked.

        If not, what is kept is discarded.
        """
        skipped = -place % _GRAIN if self.is_empty else 0
        view = memoryview(data)[skipped:]
        place += skipped
        try:
            while view:
                self.is_empty = False
                written = os.pwrite(self._descriptor, view, place)
                place += written
                view = view[written:]
        except OSError as error:
            _log.debug("cannot keep %s: %s", self._path, error)
            self.discard()
            return False
        return True

    def discard(self) -> None:
        """Forget the bytes."""
        with suppress(StorageError):
            self._disk.discard_file(self._path)

    def close(self) -> None:
        """Let go of the file, which stays."""
        os.close(self._descriptor)


class PartialFolder:
    """All unfinished downloads."""

    def __init__(self, folder: Path, disk: Disk, settings: RegistrySettings) -> None:
        self._folder = folder
        self._disk = disk
        self._limit = settings.partial_limit
        self._minimum = settings.partial_minimum

    def open(self, blob: Descriptor) -> PartialBlob | None:
        """Return what is kept of a blob, perhaps nothing yet; None where nothing is to be kept.

        Nothing is kept of small blobs, of those beyond the bound, of one that another process is
        fetching, and where the folder cannot be written.
        """
        if not self._minimum <= blob.size <= self._limit:
            return None
        path = self._folder / blob.digest
        try:
            self._disk.make_directory(self._folder)
            self._make_room(blob)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, 0o600)
        except (OSError, StorageError) as error:
            _log.debug("cannot keep %s: %s", path, error)
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink == 0:
                # Whoever held it has just finished and removed it.
                raise BlockingIOError
            if os.fstat(descriptor).st_size > blob.size:
                os.ftruncate(descriptor, 0)
            return PartialBlob(path, descriptor, self._disk)
        except OSError:
            os.close(descriptor)
            return None

    def _make_room(self, blob: Descriptor) -> None:
        """Drop the oldest until this blob fits beside the others."""
        others: list[tuple[float, int, Path]] = []
        for number, path in enumerate(self._folder.iterdir()):
            if number >= _MAX_FILES or not _is_digest(path.name):
                self._drop(path)
            elif path.name != blob.digest:
                facts = path.lstat()
                others.append((facts.st_mtime, facts.st_size, path))
        total = blob.size + sum(size for _, size, _ in others)
        for _, size, path in sorted(others):
            if total <= self._limit:
                return
            if self._drop(path):
                total -= size

    def _drop(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._disk.discard_file(path)
        except (OSError, StorageError):
            return False
        finally:
            os.close(descriptor)
        _log.debug("dropped %s", path)
        return True


def _first_kept(descriptor: int, end: int) -> int:
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return end


def _is_digest(name: str) -> bool:
    try:
        Digest(name)
    except InvalidDigestError:
        return False
    return True
