"""Contents of files that lie in a folder, beside those that another source has."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bootd.durable import storage_errors
from bootd.etc.disk.contents import Contents
from bootd.etc.disk.descriptors import closing, open_file, open_parent, opened_folder
from bootd.model.errors import DamagedObjectError
from bootd.model.etc.report import etc_path
from bootd.model.tree import Node, RegularFile


class FolderContents:
    """Serves files of a snapshot from the folder it was taken of, and the rest from elsewhere.

    Args:
        folder: where the files lie.
        nodes: their paths below it, with the nodes that stand for them.
        other: who has the contents of every other node, and measures.
    """

    def __init__(
        self, folder: Path, nodes: Iterable[tuple[bytes, Node | None]], other: Contents
    ) -> None:
        self._folder = folder
        # The nodes are kept too, so that no other one gets the identity of one that is gone.
        self._places = {id(node): (path, node) for path, node in nodes}
        self._other = other

    def measure(self, chunks: Iterable[bytes]) -> bytes:
        """Return the digest that the other source gives."""
        return self._other.measure(chunks)

    def open(self, file: RegularFile) -> int:
        """Return a descriptor of a file's content, at offset 0; the caller closes it.

        Raises:
            DamagedObjectError: it is gone.
            WriteFailedError: it cannot be read.
        """
        place = self._places.get(id(file))
        if place is None:
            return self._other.open(file)
        path, _ = place
        with (
            storage_errors("read", self._folder / os.fsdecode(path)),
            opened_folder(self._folder) as root,
            closing(open_parent(root, path)) as parent,
        ):
            name = path.rpartition(b"/")[2]
            descriptor = None if parent is None else open_file(name, parent)
        if descriptor is None:
            raise DamagedObjectError(f"{etc_path(path)} is no longer in {self._folder}")
        return descriptor
