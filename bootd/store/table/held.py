"""Which contents of a table's rows the store has."""

from __future__ import annotations

import os
from collections.abc import Iterator

from bootd.model.tree import INLINE_LIMIT
from bootd.store.known_contents import find_contents
from bootd.store.table.rows import FileRows
from bootd.sysroot import Sysroot


class HeldRows:
    """The rows whose content is in the store, as an object or as a small content."""

    def __init__(self, sysroot: Sysroot, rows: FileRows) -> None:
        self._objects = f"{sysroot.objects}/"
        self._rows = rows
        self._known = find_contents(sysroot, map(rows.digest, range(len(rows))))
        for row in range(len(rows)):
            value = self.find(row)
            if value is not None and not self._is_there(value, rows.sizes[row]):
                del self._known[rows.digest(row)]

    def find(self, row: int) -> bytes | None:
        """Return a row's object, or its content if that is small; None if it is not there."""
        return self._known.get(self._rows.digest(row))

    def missing(self) -> Iterator[int]:
        """Yield the rows that are not there, in order."""
        return (row for row in range(len(self._rows)) if self.find(row) is None)

    def object_name(self, verity: bytes) -> str:
        """Return the path of an object, as text: `pathlib` is slow, and there are many."""
        digits = verity.hex()
        return f"{self._objects}{digits[:2]}/{digits[2:]}"

    def _is_there(self, value: bytes, size: int) -> bool:
        if size <= INLINE_LIMIT:
            return len(value) == size
        try:
            return os.stat(self.object_name(value)).st_size == size  # noqa: PTH116 - see above
        except OSError:
            return False
