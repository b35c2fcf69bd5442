"""The entries of layers that are in the store, read while there is nothing better to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bootd.model.digest import Digest
from bootd.model.errors import StorageError
from bootd.store.dumpfile import DumpEntry
from bootd.store.layer_index import read_layer
from bootd.store.layers import has_layer
from bootd.sysroot import Sysroot

_ENTRIES_AT_ONCE = 1_000


class KnownLayers:
    """Reads ahead the layers of an image, as far as they are in the store, in their order.

    Args:
        sysroot: the machine.
        diff_ids: the layers to read ahead: those of an image that nobody is going to replace.
    """

    def __init__(self, sysroot: Sysroot, diff_ids: Iterable[Digest]) -> None:
        self._sysroot = sysroot
        self._read: dict[Digest, list[DumpEntry]] = {}
        self._waiting = [one for one in dict.fromkeys(diff_ids) if has_layer(sysroot, one)][::-1]
        self._reading: Iterator[DumpEntry] = iter(())
        self._entries: list[DumpEntry] = []

    def read_some(self) -> bool:
        """Read a thousand entries; return whether there were any left to read."""
        before = len(self._entries)
        try:
            for entry in self._reading:
                self._entries.append(entry)
                if len(self._entries) - before >= _ENTRIES_AT_ONCE:
                    return True
        except StorageError:
            # Whoever needs the layer meets the damage again.
            self._read.popitem()
        if not self._waiting:
            return False
        diff_id = self._waiting.pop()
        self._entries = self._read[diff_id] = []
        self._reading = read_layer(self._sysroot, diff_id)
        return True

    def entries(self, diff_id: Digest) -> Iterable[DumpEntry]:
        """Return the entries of a layer, once.

        Raises:
            DamagedRecordError, UnknownFormatError: see `bootd.store.layer_index.read_layer`.
        """
        while self.read_some():
            pass
        found = self._read.pop(diff_id, None)
        return read_layer(self._sysroot, diff_id) if found is None else found
