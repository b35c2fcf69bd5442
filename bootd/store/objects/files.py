"""Objects: file contents, each once, under the name of its fs-verity digest.

``objects/ab/cdef…`` is what composefs calls its backing store. Invariants: an object's name appears
only when its content is whole; objects are added without a sync, so nobody may rely on one before
the file system was synced (`bootd.store.layer` does, and `bootd.store.importing` says what a power
cut leaves).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bootd.durable import storage_errors, temporary_name
from bootd.model.tree import RegularFile
from bootd.store.objects.verity import VerityHash, enable_verity, verity_digests
from bootd.sysroot import Sysroot

IN_MEMORY_LIMIT: Final = 4 << 20
"""Contents up to this size are taken whole; larger ones go through a temporary file."""

_TOGETHER: Final = 64
_BYTES_TOGETHER: Final = 256 << 10
"""So many contents, or bytes of them, are stored at once."""

_FOLDER: Final = re.compile(r"[0-9a-f]{2}")
_NAME: Final = re.compile(r"[0-9a-f]{62}(?:[0-9a-f]{64})?")
_MODE: Final = 0o400


def object_name(verity: bytes) -> str:
    """Return the name of an object within the folder of objects, by its digest.

    An image has tens of thousands: a Path for each would take longer than opening it.
    """
    digits = verity.hex()
    return f"{digits[:2]}/{digits[2:]}"


def object_path(sysroot: Sysroot, verity: bytes) -> Path:
    """Return where the object of a digest is, whether it exists or not."""
    return sysroot.objects / object_name(verity)


def all_objects(sysroot: Sysroot) -> Iterator[bytes]:
    """Yield the digest of every object, by its name, in no order; leftovers are left out."""
    for folder in _names(sysroot.objects, _FOLDER):
        for name in _names(sysroot.objects / folder, _NAME):
            yield bytes.fromhex(folder + name)


def unneeded_objects(sysroot: Sysroot, needed: Collection[bytes]) -> Iterator[list[str]]:
    """Yield the paths of the objects whose digests are not among `needed`, folder by folder."""
    wanted = {verity.hex() for verity in needed}
    for folder in _names(sysroot.objects, _FOLDER):
        place = sysroot.objects / folder
        with storage_errors("list", place):
            names = [name for name in os.listdir(place) if folder + name not in wanted]  # noqa: PTH208 - a Path each costs more than all else
        yield [f"{place}/{name}" for name in names if _NAME.fullmatch(name)]


class ObjectWriter:
    """Adds contents to a store; one for each import, in one process and thread.

    Attributes:
        waiting: files whose contents are still to be stored.
    """

    def __init__(self, sysroot: Sysroot) -> None:
        self._disk = sysroot.disk
        self._objects = sysroot.objects
        self._prefix = f"{sysroot.objects}/"
        self._folders: set[str] = set()
        self._algorithm = sysroot.hash_algorithm()
        self._verity = True
        self.waiting: list[RegularFile] = []
        self._contents: list[bytes] = []
        self._size = 0

    def add_soon(self, file: RegularFile, content: bytes) -> None:
        """Store a content that is in memory, together with others; the file then has its digest.

        Raises:
            NoSpaceError, WriteFailedError: it, or one before it, could not be stored.
        """
        self.waiting.append(file)
        self._contents.append(content)
        self._size += len(content)
        if len(self.waiting) >= _TOGETHER or self._size >= _BYTES_TOGETHER:
            self.catch_up()

    def catch_up(self) -> None:
        """Store what waits.

        Raises:
            NoSpaceError, WriteFailedError: something could not be stored.
        """
        for file, verity in zip(self.waiting, self.add_all(self._contents), strict=True):
            file.verity = verity
        self.waiting.clear()
        self._contents.clear()
        self._size = 0

    def add_all(self, contents: Sequence[bytes]) -> list[bytes]:
        """Store contents that are in memory and return their digests; nothing is synced.

        Raises:
            NoSpaceError, WriteFailedError: one could not be stored.
        """
        digests = verity_digests(contents, self._algorithm)
        for content, verity in zip(contents, digests, strict=True):
            name = self._named(verity)
            if not os.path.exists(name):  # noqa: PTH110 - once for each file of an image
                self._disk.add_small_file(name, content, _MODE)
                self._guard(name)
        return digests

    def add_stream(self, pieces: Iterable[bytes]) -> bytes:
        """Store a content that comes in pieces and return its digest; nothing is synced.

        Raises:
            NoSpaceError, WriteFailedError: it could not be stored.
        """
        running = VerityHash(self._algorithm)
        temporary = temporary_name(self._objects / "stream")
        self._disk.write_temporary(temporary, _measured(pieces, running), _MODE)
        verity = running.digest()
        name = self._named(verity)
        if os.path.exists(name):  # noqa: PTH110 - as above
            self._disk.discard_file(temporary)
            return verity
        self._disk.adopt_file(temporary, Path(name))
        self._guard(name)
        return verity

    def _named(self, verity: bytes) -> str:
        """Return the path of an object, whose folder is there afterwards."""
        name = object_name(verity)
        folder = name[:2]
        if folder not in self._folders:
            self._disk.make_directory(self._objects / folder)
            self._folders.add(folder)
        return self._prefix + name

    def _guard(self, name: str) -> None:
        self._verity = self._verity and enable_verity(Path(name), self._algorithm)


def _measured(pieces: Iterable[bytes], running: VerityHash) -> Iterator[bytes]:
    for piece in pieces:
        running.update(piece)
        yield piece


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    with storage_errors("list", folder):
        return [path.name for path in folder.iterdir() if pattern.fullmatch(path.name)]
