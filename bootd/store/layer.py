"""Layer import: from a blob's chunks to objects and an index, in one pass.

Order (design section 5): objects, then syncfs, then the index, by which alone a layer is found. So
whatever ends an import leaves objects that nothing refers to, and no layer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from bootd.model.digest import Digest
from bootd.model.errors import DiffIdMismatchError, InvalidLayerError
from bootd.store.decompress import UNPACKED_LIMIT, unpack
from bootd.store.layer_entry import store_entry
from bootd.store.layer_index import ENTRIES_LIMIT, LayerIndex, LayerIndexWriter
from bootd.store.objects import ObjectWriter
from bootd.store.second_thread import in_second_thread
from bootd.store.tar_header import shown
from bootd.store.tar_reader import TarReader
from bootd.sysroot import Sysroot

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

_log = logging.getLogger(__name__)


def import_layer(
    sysroot: Sysroot,
    chunks: Iterable[bytes],
    *,
    media_type: str,
    diff_id: Digest,
    limit: int = UNPACKED_LIMIT,
    meanwhile: Callable[[], bool] | None = None,
) -> LayerIndex:
    """Bring a layer into the store; afterwards it is durable.

    Several may run at a time, in processes of their own. Memory is bounded whatever the layer's
    size. The caller holds the store's lock and `bootd.store.importing`.

    Args:
        sysroot: the machine.
        chunks: the blob as it was stored in the registry, possibly still arriving. They are
            consumed to their end, also when the layer is damaged, so that whoever yields them can
            say that the blob is not the one that was asked for.
        media_type: how the blob is packed.
        diff_id: the digest that the tar stream must have.
        limit: most bytes the layer may unpack to.
        meanwhile: see `bootd.store.second_thread`; None to do all in this thread, where several
            processes share the cores.

    Raises:
        InvalidLayerError: the stream is damaged, too large, or holds a forbidden entry.
        DiffIdMismatchError: it is another layer.
        UnknownMediaTypeError: bootd cannot read this media type.
        NoSpaceError, WriteFailedError: the disk is in the way.
    """
    source = iter(chunks)
    try:
        measured = _Measured(diff_id, media_type, limit)
        with closing(
            measured.unpack(source)
            if meanwhile is None
            else in_second_thread(measured.unpack, source, meanwhile)
        ) as tar:
            index = _import(sysroot, tar, measured, limit)
    except InvalidLayerError:
        for _ in source:
            pass
        raise
    _log.debug("imported layer %s: %d entries", diff_id, index.entries)
    return index


def _import(sysroot: Sysroot, tar: Iterable[bytes], measured: _Measured, limit: int) -> LayerIndex:
    reader = TarReader(tar)
    writer = ObjectWriter(sysroot)
    left = limit
    with LayerIndexWriter(sysroot, measured.diff_id) as index:
        while (entry := reader.next()) is not None:
            if index.entries == ENTRIES_LIMIT:
                raise InvalidLayerError(f"a layer has more than {ENTRIES_LIMIT} entries")
            # The stream's length bounds all but files with holes.
            left -= entry.size
            if left < 0:
                raise InvalidLayerError(
                    f"entry {shown(entry.name)} brings a layer to more than {limit} bytes"
                )
            index.add(store_entry(entry, reader, writer))
        measured.check()
        return index.publish(measured.size)


class _Measured:
    """The running digest and length of the tar stream."""

    def __init__(self, diff_id: Digest, media_type: str, limit: int) -> None:
        self.diff_id = diff_id
        self.size = 0
        self._media_type = media_type
        self._limit = limit
        self._hash: Hash = diff_id.new_hash()

    def unpack(self, chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
        for piece in unpack(chunks, self._media_type, self._limit):
            self._hash.update(piece)
            self.size += len(piece)
            yield piece

    def check(self) -> None:
        found = f"{self.diff_id.algorithm}:{self._hash.hexdigest()}"
        if found != self.diff_id:
            raise DiffIdMismatchError(
                f"a layer unpacks to {found}, the image's configuration promises {self.diff_id}"
            )
