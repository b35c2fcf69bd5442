"""The contents that a tree's files name, read from the store."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import Final

from bootd.model.errors import DamagedObjectError, WriteFailedError
from bootd.model.hash_algorithm import HashAlgorithm
from bootd.model.tree import RegularFile
from bootd.store.objects.files import object_name
from bootd.store.objects.verity import VerityHash
from bootd.sysroot import Sysroot

READ_LIMIT: Final = 16 << 20
"""Largest content that `StoreContents.read` returns."""


class StoreContents:
    """Measures and opens contents; `bootd.etc` asks for it by this shape."""

    def __init__(self, sysroot: Sysroot) -> None:
        self._sysroot = sysroot
        self._objects = f"{sysroot.objects}/"

    @cached_property
    def algorithm(self) -> HashAlgorithm:
        """By which the store names what it holds."""
        return self._sysroot.hash_algorithm()

    def measure(self, chunks: Iterable[bytes]) -> bytes:
        """Return the digest that the object of a content that comes in pieces would have."""
        running = VerityHash(self.algorithm)
        for chunk in chunks:
            running.update(chunk)
        return running.digest()

    def open(self, file: RegularFile) -> int:
        """Return a descriptor, at offset 0, of the object of a file; the caller closes it.

        Raises:
            DamagedObjectError: the object is missing.
            WriteFailedError: it cannot be opened.
        """
        assert file.verity is not None
        path = self._objects + object_name(file.verity)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError as error:
            raise DamagedObjectError(f"the object {path} is missing") from error
        except OSError as error:
            raise WriteFailedError(f"cannot open {path}: {error.strerror}") from error

    def read(self, file: RegularFile) -> bytes:
        """Return the whole content of a small file.

        Raises:
            DamagedObjectError: its object is missing, has another size, or is larger than
                `READ_LIMIT`.
            WriteFailedError: it cannot be read.
        """
        if file.content is not None:
            return file.content
        descriptor = self.open(file)
        with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor
            content = stream.read(READ_LIMIT + 1)
        if len(content) != file.size:
            name = (file.verity or b"").hex()
            raise DamagedObjectError(f"the object {name} has {len(content)} bytes, not {file.size}")
        return content
