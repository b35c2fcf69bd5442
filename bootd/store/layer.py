"""Layer import: from a blob's chunks to objects and an index, in one pass.

Order of writes (docs/architecture.md, "What is written, and in which order"): objects, then syncfs,
then the index, by which alone a layer is found; the last two are `bootd.store.publishing`. So
whatever ends an import leaves objects that nothing refers to, and no layer.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Final

from bootd.model.digest import Digest
from bootd.model.errors import DiffIdMismatchError, InvalidLayerError
from bootd.model.tree import RegularFile
from bootd.store.images.dumpfile import DumpEntry
from bootd.store.known_contents import ContentNotes, NotingWriter
from bootd.store.layer_entry import ContentReader, store_entry
from bootd.store.layer_index import ENTRIES_LIMIT, LayerIndexWriter, WrittenLayer
from bootd.store.layer_reader import LayerReader, unpacked
from bootd.store.objects.files import IN_MEMORY_LIMIT, ObjectWriter
from bootd.store.tar.attributes import AttributeBound
from bootd.store.tar.decompress import UNPACKED_LIMIT
from bootd.store.tar.entry_messages import needs_content
from bootd.store.tar.header import TarEntry, shown
from bootd.sysroot import Sysroot

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

_log = logging.getLogger(__name__)

_MOST_WAITING: Final = 1024
"""Entries, of which few may have a content."""


def import_layer(
    sysroot: Sysroot,
    chunks: Iterable[bytes],
    *,
    media_type: str,
    diff_id: Digest,
    note_contents: bool = False,
    limit: int = UNPACKED_LIMIT,
) -> WrittenLayer:
    """Write a layer to the store; it is found, and durable, once it is published.

    Several may run at a time, in processes of their own. Memory is bounded whatever the layer's
    size. The caller holds the store's lock and `bootd.store.importing`.

    Args:
        sysroot: the machine.
        chunks: the blob as it was stored in the registry, possibly still arriving. They are
            consumed to their end, also when the layer is damaged, so that whoever yields them can
            say that the blob is not the one that was asked for.
        media_type: how the blob is packed.
        diff_id: the digest that the tar stream must have.
        note_contents: whether to note the SHA-256 of what the layer holds, by which a later layer
            with a table finds it (`bootd.store.partial_layer`); that takes time.
        limit: most bytes the layer may unpack to.

    Raises:
        InvalidLayerError: the stream is damaged, too large, or holds a forbidden entry.
        DiffIdMismatchError: it is another layer.
        UnknownMediaTypeError: bootd cannot read this media type.
        NoSpaceError, WriteFailedError: the disk is in the way.
        ProcessFailedError: a process that reads the layer died.
    """
    source = iter(chunks)
    notes = ContentNotes(sysroot.hash_algorithm()) if note_contents else None
    measured = Measured(diff_id)
    try:
        with closing(unpacked(source, media_type, limit)) as stream:
            written = _import(sysroot, measured.pass_on(stream), measured, limit, notes)
    except InvalidLayerError:
        for _ in source:
            pass
        raise
    _log.debug("imported layer %s: %d entries", diff_id, written.entries)
    return written


def _import(
    sysroot: Sysroot,
    tar: Iterable[bytes],
    measured: Measured,
    limit: int,
    notes: ContentNotes | None,
) -> WrittenLayer:
    writer = ObjectWriter(sysroot) if notes is None else NotingWriter(sysroot, notes)
    with LayerReader(tar) as reader, LayerIndexWriter(sysroot, measured.diff_id) as index:
        entries = LayerEntries(index, writer, notes, limit)
        for entry in reader.entries():
            node = entry.node
            if node is not None:
                size = node.size if isinstance(node, RegularFile) else 0
                entries.expect(entry.path[1:], size, node.metadata.xattrs)
            entries.store_told(entry, reader)
        entries.finish()
        measured.check()
        if notes is not None:
            notes.write(sysroot, measured.diff_id, verified=True)
        return index.finish(measured.size)


class LayerEntries:
    """The entries of a layer on their way into its index, with a bound.

    Those that follow a file whose content waits to be stored wait, too.

    Args:
        index: takes them.
        writer: takes their contents.
        notes: takes the contents that they hold themselves; None to note nothing.
        limit: most bytes their contents may have together.
    """

    def __init__(
        self,
        index: LayerIndexWriter,
        writer: ObjectWriter,
        notes: ContentNotes | None,
        limit: int,
    ) -> None:
        self._index = index
        self._writer = writer
        self._notes = notes
        self._limit = self._left = limit
        self._attributes = AttributeBound("a layer")
        self._waiting: list[DumpEntry] = []

    def expect(self, name: bytes, size: int, xattrs: Mapping[bytes, bytes]) -> None:
        """Refuse the next entry, before its content is read, if it brings too much.

        A stream's length bounds all but files with holes.

        Raises:
            InvalidLayerError: it is.
        """
        self._left -= size
        if self._left < 0:
            raise InvalidLayerError(
                f"entry {shown(name)} brings a layer to more than {self._limit} bytes"
            )
        if xattrs:
            self._attributes.add(xattrs)
        if self._index.entries + len(self._waiting) == ENTRIES_LIMIT:
            raise InvalidLayerError(f"a layer has more than {ENTRIES_LIMIT} entries")

    def store(self, entry: TarEntry, reader: ContentReader) -> None:
        """Add an entry whose content is not in the store.

        Raises:
            InvalidLayerError: see `bootd.store.layer_entry.store_entry`.
            NoSpaceError, WriteFailedError: it could not be written.
        """
        self.add(store_entry(entry, reader, self._writer))

    def store_told(self, entry: DumpEntry, reader: ContentReader) -> None:
        """Add an entry of a `LayerReader`, whose content is not in the store.

        Raises:
            NoSpaceError, WriteFailedError: it could not be written.
        """
        if needs_content(entry):
            file = entry.node
            assert isinstance(file, RegularFile)
            file.verity = None
            if file.size <= IN_MEMORY_LIMIT:
                self._writer.add_soon(file, reader.read())
            else:
                file.verity = self._writer.add_stream(reader.content())
        self.add(entry)

    def add(self, entry: DumpEntry) -> None:
        """Add an entry.

        Raises:
            NoSpaceError, WriteFailedError: it could not be written.
        """
        self._waiting.append(entry)
        if len(self._waiting) >= _MOST_WAITING:
            self._writer.catch_up()
        if not self._writer.waiting:
            self._add_waiting()

    def finish(self) -> None:
        """Let nothing wait any longer.

        Raises:
            NoSpaceError, WriteFailedError: something could not be written.
        """
        self._writer.catch_up()
        self._add_waiting()

    def _add_waiting(self) -> None:
        for entry in self._waiting:
            self._index.add(entry)
            node = entry.node
            if self._notes is not None and isinstance(node, RegularFile) and node.content:
                self._notes.add_small(node.content)
        self._waiting.clear()


class Measured:
    """The running digest and length of a tar stream.

    Attributes:
        diff_id: the digest that it must have.
        size: the length so far.
    """

    def __init__(self, diff_id: Digest) -> None:
        self.diff_id = diff_id
        self.size = 0
        self._hash: Hash = diff_id.new_hash()

    def add(self, piece: bytes) -> None:
        """Take the next piece of the stream."""
        self._hash.update(piece)
        self.size += len(piece)

    def pass_on(self, pieces: Iterable[bytes]) -> Generator[bytes, None, None]:
        """Take pieces and yield them."""
        for piece in pieces:
            self.add(piece)
            yield piece

    def check(self) -> None:
        """Refuse a stream that is another one.

        Raises:
            DiffIdMismatchError: it has another digest.
        """
        measured = f"{self.diff_id.algorithm}:{self._hash.hexdigest()}"
        if measured != self.diff_id:
            raise DiffIdMismatchError(
                f"a layer unpacks to {measured}, the image's configuration promises {self.diff_id}"
            )
