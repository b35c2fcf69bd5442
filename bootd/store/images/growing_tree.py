"""The tree of an image, composed while layers of it are still being imported."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from pathlib import Path

from bootd.model.digest import Digest
from bootd.model.tree import Directory, Metadata
from bootd.store.compose import apply_layer
from bootd.store.images.dumpfile import DumpEntry
from bootd.store.layer_index import WrittenLayer, read_layer
from bootd.store.layers import in_layer
from bootd.store.tar.attributes import AttributeBound
from bootd.sysroot import Sysroot


class GrowingTree:
    """Grows by one layer after the other, the lowest first, as far as they are in the store.

    Args:
        sysroot: the machine.
        diff_ids: the image's layers, the lowest first.
        missing: those that are not in the store yet, or not to stay as they are.
    """

    def __init__(
        self, sysroot: Sysroot, diff_ids: Iterable[Digest], missing: Collection[Digest] = ()
    ) -> None:
        self._sysroot = sysroot
        self._root = Directory(Metadata())
        self._waiting = deque(diff_ids)
        self._next = 1
        self._missing = set(missing)
        self._written: dict[Digest, Path] = {}
        self._read: dict[Digest, list[DumpEntry]] = {}
        self._attributes = AttributeBound("all layers together")

    def arrived(self, layer: WrittenLayer) -> None:
        """Count on a layer that was missing; it need not be published yet."""
        self._missing.discard(layer.diff_id)
        self._written[layer.diff_id] = layer.index

    def grow(self) -> bool:
        """Add the next layer, or read one above it ahead; return whether either was possible.

        Raises:
            DamagedRecordError, UnknownFormatError: see `bootd.store.layer_index.read_layer`.
            InvalidLayerError: see `bootd.store.compose` and `bootd.store.tar.attributes`; the
                layer is named.
        """
        for diff_id in self._waiting:
            if diff_id in self._missing:
                continue
            if diff_id == self._waiting[0]:
                with in_layer(self._next):
                    apply_layer(self._root, self._read.pop(diff_id, []) or self._layer(diff_id))
                self._waiting.popleft()
                self._next += 1
                return True
            if diff_id not in self._read:
                self._read[diff_id] = self._layer(diff_id)
                return True
        return False

    def whole(self) -> Directory:
        """Return the tree of all layers, all of which have arrived.

        Raises:
            DamagedRecordError, UnknownFormatError, InvalidLayerError: as for `grow`.
        """
        self._missing.clear()
        while self.grow():
            pass
        return self._root

    def _layer(self, diff_id: Digest) -> list[DumpEntry]:
        entries = list(read_layer(self._sysroot, diff_id, self._written.get(diff_id)))
        for entry in entries:
            if entry.node is not None and entry.node.metadata.xattrs:
                self._attributes.add(entry.node.metadata.xattrs)
        return entries
