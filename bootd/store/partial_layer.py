"""Partial layers: contents from the store where it has them, from parts of the blob where not.

Two ways. Where the layer brings tar-split data, its tar stream is rebuilt byte for byte and has to
have the diff ID, whatever the table says: a lying table gives no layer. Where it does not, the
table alone says what the layer holds; that is taken only if the administrator trusts tables
(``trust_layer_tables``), and noted (`bootd.store.known_contents`).

The order is that of `bootd.store.layer`: objects, the layer's contents, the index.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from bootd.model.digest import Digest
from bootd.model.registry.image import Descriptor
from bootd.model.tree import INLINE_LIMIT
from bootd.store.known_contents import ContentNotes, NotingWriter
from bootd.store.layer import LayerEntries, Measured
from bootd.store.layer_entry import held_entry
from bootd.store.layer_index import LayerIndexWriter, WrittenLayer
from bootd.store.table.annotations import ZstdChunked, find_table
from bootd.store.table.contents import FetchedContents
from bootd.store.table.held import HeldRows
from bootd.store.table.metadata import CHUNK, tar_entry
from bootd.store.table.plan import REQUEST_BYTES, is_worthwhile, plan_spans
from bootd.store.table.reading import Fetch, LayerTable
from bootd.store.table.rebuild import RebuiltStream
from bootd.store.table.rows import has_content
from bootd.store.tar.decompress import UNPACKED_LIMIT
from bootd.store.tar.reader import TarReader
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)


def import_partial_layer(
    sysroot: Sysroot,
    layer: Descriptor,
    diff_id: Digest,
    fetch: Fetch,
    *,
    trust_tables: bool,
    limit: int = UNPACKED_LIMIT,
) -> WrittenLayer | None:
    """Write a layer to the store without fetching what is there.

    The caller holds what `bootd.store.layer.import_layer` wants it to hold.

    Args:
        sysroot: the machine.
        layer: the layer's descriptor.
        diff_id: the digest of its tar stream.
        fetch: asks for a part of the blob.
        trust_tables: whether a table may vouch for a layer without tar-split data.
        limit: most bytes the layer may unpack to.

    Returns:
        None where the whole blob has to be fetched, or is cheaper.

    Raises:
        ContentError: table or contents are not what was promised, or odd; nothing was published.
        TransportError: what `fetch` raises.
        NoSpaceError, WriteFailedError: the disk is in the way.
    """
    place = find_table(layer)
    if place is None or not _may_pay(layer, place, trust_tables=trust_tables):
        return None
    table = LayerTable(place, fetch, limit)
    if table.tar_stream() is None and not trust_tables:
        return None
    held = HeldRows(sysroot, table.rows)
    spans = plan_spans(table.rows, held.missing())
    if not is_worthwhile(spans, layer.size):
        _log.debug("layer %s: %d parts are no cheaper than all of it", diff_id, len(spans))
        return None
    contents = FetchedContents(table.rows, spans, fetch)
    notes = ContentNotes(sysroot.hash_algorithm())
    with closing(contents), LayerIndexWriter(sysroot, diff_id) as index:
        entries = LayerEntries(index, NotingWriter(sysroot, notes), notes, limit)
        job = _Job(table, held, contents, notes, entries)
        stream = table.tar_stream()
        size = _trust(job) if stream is None else _rebuild(job, stream, diff_id)
        entries.finish()
        notes.write(sysroot, diff_id, verified=stream is not None)
        found = index.finish(size)
    _log.debug("imported layer %s with %d of its parts", diff_id, len(spans))
    return found


def _may_pay(layer: Descriptor, place: ZstdChunked, *, trust_tables: bool) -> bool:
    """Return whether it is worth to fetch the table."""
    if place.tar_split is None and not trust_tables:
        return False
    tables = place.table.size + (place.tar_split.size if place.tar_split else 0)
    return tables + REQUEST_BYTES < layer.size


def _rebuild(job: _Job, stream: Iterator[bytes | int], diff_id: Digest) -> int:
    """Add the entries of the rebuilt tar stream; return its length."""
    measured = Measured(diff_id)
    rows = job.table.rows
    rebuilt = RebuiltStream(rows, job.held, job.contents, measured, job.notes)
    reader = TarReader(rebuilt.pieces(stream))
    while (tar := reader.next()) is not None:
        job.entries.expect(tar.name, tar.size, tar.xattrs)
        held = reader.held() if tar.file_type == stat.S_IFREG else None
        if held is None:
            job.entries.store(tar, reader)
        else:
            job.entries.add(held_entry(tar, held.verity))
    measured.check()
    return measured.size


def _trust(job: _Job) -> int:
    """Add the entries of the table; return how many bytes their contents have together."""
    rows = job.table.rows
    row = -1
    for entry in job.table.entries():
        if entry.get("type") == CHUNK:
            continue
        tar = tar_entry(entry)
        job.entries.expect(tar.name, tar.size, tar.xattrs)
        content: Iterator[bytes] = iter(())
        if has_content(entry):
            row += 1
            value = job.held.find(row)
            if value is not None and tar.size > INLINE_LIMIT:
                job.notes.add(rows.digest(row), value)
                job.entries.add(held_entry(tar, value))
                continue
            content = job.contents.content(row) if value is None else iter((value,))
        job.entries.store(tar, _Content(content))
    return sum(rows.sizes)


@dataclass(frozen=True, slots=True)
class _Job:
    """A layer on its way into the store."""

    table: LayerTable
    held: HeldRows
    contents: FetchedContents
    notes: ContentNotes
    entries: LayerEntries


class _Content:
    """The content of one entry, for `store_entry`."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self) -> bytes:
        return b"".join(self._pieces)

    def content(self) -> Iterator[bytes]:
        return self._pieces
