"""The tar stream of a layer, rebuilt from tar-split data, objects and what was fetched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bootd.model.errors import InvalidLayerError
from bootd.model.tree import INLINE_LIMIT
from bootd.store.known_contents import ContentNotes
from bootd.store.layer import Measured
from bootd.store.table.contents import FetchedContents
from bootd.store.table.held import HeldRows
from bootd.store.table.rows import FileRows
from bootd.store.tar.reader import HeldContent

_READ_SIZE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class RebuiltStream:
    """Yields the stream, with a `HeldContent` in place of each object's content.

    What goes into `measured` is all of the stream, the objects' bytes as they are on the disk now
    included: its check says whether stream and store are what they should be.
    """

    rows: FileRows
    held: HeldRows
    contents: FetchedContents
    measured: Measured
    notes: ContentNotes

    def pieces(self, stream: Iterator[bytes | int]) -> Iterator[bytes | HeldContent]:
        """Yield the stream that tar-split data describe.

        Raises:
            InvalidLayerError: it does not fit the table or the store.
            DigestMismatchError: see `FetchedContents.content`.
        """
        row = -1
        for part in stream:
            if isinstance(part, bytes):
                self.measured.add(part)
                yield part
                continue
            row += 1
            if row == len(self.rows) or self.rows.sizes[row] != part:
                raise InvalidLayerError("a layer's table does not fit its tar-split data")
            value = self.held.find(row)
            if value is not None and part > INLINE_LIMIT:
                self._measure_object(value, part)
                self.notes.add(self.rows.digest(row), value)
                yield HeldContent(part, value)
                continue
            for piece in self.contents.content(row) if value is None else (value,):
                self.measured.add(piece)
                yield piece

    def _measure_object(self, verity: bytes, size: int) -> None:
        path = self.held.object_name(verity)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                while size > 0 and (piece := os.read(descriptor, min(size, _READ_SIZE))):
                    self.measured.add(piece)
                    size -= len(piece)
            finally:
                os.close(descriptor)
        except OSError as error:
            # The whole layer can still be had, and does without this object's content.
            raise InvalidLayerError(f"{path} cannot be read: {error.strerror}") from error
        if size:
            raise InvalidLayerError(f"{path} has another size than the layer's table says")
