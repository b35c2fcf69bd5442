"""One layer of an image on its way from the registry into the store.

Of a layer that brings a table of contents only what the store does not have is fetched; if anything
about that is odd, the layer is fetched whole, as if there were no table. Afterwards it is written;
`bootd.store.publishing` makes it durable and found.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from bootd.model.digest import Digest
from bootd.model.errors import (
    ContentError,
    DiffIdMismatchError,
    InvalidLayerError,
    TransportError,
)
from bootd.model.registry.image import Descriptor
from bootd.model.registry.source_use import SourceUse
from bootd.registry.settings import RegistrySettings
from bootd.registry.sources.source import ImageSource, consume_blob, open_source
from bootd.store.layer import import_layer
from bootd.store.layer_index import WrittenLayer
from bootd.store.layers import has_layer, in_layer, layer_path
from bootd.store.partial_layer import import_partial_layer
from bootd.store.table.annotations import Span, has_table
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

Advance = Callable[[int], None]
"""Told how many bytes of a blob were taken since the last call."""


@dataclass(frozen=True, slots=True)
class LayerTask:
    """One layer to import, as it is sent to a worker process.

    Attributes:
        sysroot: the machine.
        registry: how registries are asked.
        reference: the image.
        descriptor: the layer's blob.
        diff_id: the digest of its tar stream.
        by_parts: whether the store holds what an image with tables may share with this one.
        trust_tables: whether a table may vouch for a layer.
        number: where it stands in the image, for messages; the lowest layer is 1.
    """

    sysroot: Sysroot
    registry: RegistrySettings
    reference: str
    descriptor: Descriptor
    diff_id: Digest
    by_parts: bool
    trust_tables: bool
    number: int = 1

    def open_source(self) -> ImageSource:
        """Return a source of the layer, which serves for all others of the image, too.

        Raises:
            RequestError: see `bootd.registry.sources.source.open_source`.
        """
        partial, disk = self.sysroot.partial, self.sysroot.disk
        return open_source(self.reference, self.registry, partial, disk)


@dataclass(frozen=True, slots=True)
class ImportedLayer:
    """A layer that was written to the store, how many bytes of it were fetched, and from where."""

    written: WrittenLayer
    bytes: int
    uses: tuple[SourceUse, ...] = ()


def import_task(source: ImageSource, task: LayerTask, advance: Advance) -> ImportedLayer:
    """Write a layer to the store.

    Raises:
        TransportError, ContentError, StorageError: it could not be had. An error of its content
            has the layer's number.
    """
    if has_layer(task.sysroot, task.diff_id):
        # What is noted of its contents must not say "verified" beside the index that was not.
        task.sysroot.disk.remove_file(layer_path(task.sysroot, task.diff_id))
    imported = _import_parts(source, task) if task.by_parts else None
    if imported is None:
        written = _import_whole(source, task, advance)
        imported = ImportedLayer(written, task.descriptor.size)
    else:
        advance(task.descriptor.size)
    return replace(imported, uses=tuple(source.take_uses()))


def _import_whole(source: ImageSource, task: LayerTask, advance: Advance) -> WrittenLayer:
    def consume(stream: Iterable[bytes]) -> WrittenLayer:
        return import_layer(
            task.sysroot,
            _counted(stream, advance),
            media_type=task.descriptor.media_type,
            diff_id=task.diff_id,
            note_contents=has_table(task.descriptor),
        )

    try:
        with in_layer(task.number):
            return consume_blob(source, task.descriptor, consume)
    except (InvalidLayerError, DiffIdMismatchError) as error:
        error.layer = task.number
        raise


def _import_parts(source: ImageSource, task: LayerTask) -> ImportedLayer | None:
    """Write a layer to the store by its table; None where that did not do."""
    fetched = 0

    def fetch(span: Span) -> Generator[bytes, None, None]:
        nonlocal fetched
        with closing(source.part(task.descriptor, span.start, span.end)) as chunks:
            for chunk in chunks:
                fetched += len(chunk)
                yield chunk

    try:
        written = import_partial_layer(
            task.sysroot,
            task.descriptor,
            task.diff_id,
            fetch,
            trust_tables=task.trust_tables,
        )
    except (ContentError, TransportError) as error:
        # The whole blob says whether it was the table that was wrong.
        _log.warning("layer %s is fetched whole: %s", task.descriptor.digest, error.message)
        return None
    return None if written is None else ImportedLayer(written, fetched)


def _counted(chunks: Iterable[bytes], advance: Advance) -> Iterator[bytes]:
    for chunk in chunks:
        advance(len(chunk))
        yield chunk
