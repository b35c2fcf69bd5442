"""The pure parts of layers with a table: annotations, entries, rows, plans, tar-split, metadata."""

import base64
import json
import tarfile
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.chunked import OLD_PREFIX, PREFIX, zstd_chunked
from support.effort import heavy
from support.images import entry, tar_layer

from bootd.model.digest import Digest
from bootd.model.errors import InvalidLayerError
from bootd.model.registry.image import Compression, Descriptor
from bootd.store.table.annotations import (
    TABLE_LIMIT,
    Span,
    ZstdChunked,
    find_table,
    has_table,
)
from bootd.store.table.entries import ENTRY_LIMIT, TableEntries
from bootd.store.table.metadata import tar_entry
from bootd.store.table.plan import (
    GAP_LIMIT,
    REQUEST_BYTES,
    WASTE_FLOOR,
    WASTE_SHARE,
    is_worthwhile,
    plan_spans,
)
from bootd.store.table.rows import FileRows, file_rows
from bootd.store.table.tar_split import LINE_LIMIT, parse_tar_split
from bootd.store.tar.decompress import UNPACKED_LIMIT, frames
from bootd.store.tar.reader import TarReader

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DIGEST = "sha256:" + "ab" * 32
ESTARGZ = "containerd.io/snapshot/stargz/toc.digest"


def descriptor(media_type, **annotations):
    return Descriptor(
        media_type=media_type, digest=Digest(DIGEST), size=1_000_000, annotations=annotations
    )


def chunked(position, tar_split=None, checksum=DIGEST, prefix=PREFIX):
    notes = {prefix + "manifest-position": position, prefix + "manifest-checksum": checksum}
    if tar_split is not None:
        notes[prefix + "tarsplit-position"] = tar_split
    return descriptor(ZSTD, **notes)


@pytest.mark.parametrize("prefix", [PREFIX, OLD_PREFIX])
def test_zstd_chunked_annotations(prefix):
    layer = chunked("900:50:400:1", "958:40:300", prefix=prefix)
    assert has_table(layer)
    assert find_table(layer) == ZstdChunked(Digest(DIGEST), Span(900, 950), Span(958, 998))
    assert find_table(chunked("900:50:400:1")) == ZstdChunked(Digest(DIGEST), Span(900, 950), None)


def test_layers_without_a_table():
    plain = (descriptor(GZIP), descriptor(ZSTD), descriptor(ZSTD, other="1:2:3:1"))
    # An eStargz layer's table can be verified by nothing; it is a gzip layer.
    for layer in (*plain, descriptor(GZIP, **{ESTARGZ: DIGEST})):
        assert not has_table(layer)
        assert find_table(layer) is None


@pytest.mark.parametrize("media_type", [GZIP, ZSTD.removesuffix("+zstd"), f"{ZSTD}; charset=utf-8"])
def test_a_media_type_that_is_wrong_hides_no_table(media_type):
    layer = chunked("900:50:400:1").model_copy(update={"media_type": media_type})
    assert find_table(layer) == ZstdChunked(Digest(DIGEST), Span(900, 950), None)


@pytest.mark.parametrize(
    "layer",
    [
        chunked("900:50:400"),
        chunked("900:50:400:2"),
        chunked("900:50:400:1:5"),
        chunked("-1:50:400:1"),
        chunked("0:50:400:1"),
        chunked("900:0:400:1"),
        chunked("999990:50:400:1"),
        chunked("9" * 19 + ":50:400:1"),
        chunked("nowhere"),
        chunked("٩00:50:400:1"),
        chunked("900:50:400:1", "958:40"),
        chunked("900:50:400:1", "999958:400:1"),
        chunked("900:50:400:1", checksum="sha256:no"),
        chunked("900:50:400:1", checksum=""),
    ],
)
def test_annotations_that_cannot_be_used(layer):
    assert has_table(layer)
    with pytest.raises(InvalidLayerError, match="table"):
        find_table(layer)


def test_a_table_has_a_bound():
    large = chunked(f"1:{TABLE_LIMIT + 1}:400:1").model_copy(update={"size": 1 << 40})
    with pytest.raises(InvalidLayerError, match="bytes; 33554432 are allowed"):
        find_table(large)


def entries_of(text, cuts=()):
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    found = TableEntries(pieces)
    return list(found), found.others


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.data())
@heavy(15, full=2_000)
def test_entries_come_out_as_they_went_in(data):
    entries = data.draw(st.lists(st.dictionaries(st.text(), VALUES)))
    others = data.draw(st.dictionaries(st.text().filter(lambda key: key != "entries"), VALUES))
    others["version"] = 1
    members = data.draw(st.permutations([*others.items(), ("entries", entries)]))
    indent = data.draw(st.sampled_from([None, 0, "\t"]))
    text = json.dumps(dict(members), ensure_ascii=False, indent=indent).encode(
        errors="surrogatepass"
    )
    try:
        text.decode()
    except UnicodeDecodeError:
        return
    cuts = data.draw(st.lists(st.integers(0, len(text))))
    assert entries_of(text, cuts) == (entries, others)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version":1}',
        b'{"version":2,"entries":[]}',
        b'{"entries":[]}',
        b'{"version":1,"entries":{}}',
        b'{"version":1,"entries":[1]}',
        b'{"version":1,"entries":[{}',
        b'{"version":1,"entries":[{},]}',
        b'{"version":1,"entries":[{}]',
        b'{"version":1,"entries":[{}]}{}',
        b'{"version":1,"entries":[],"entries":[]}',
        b'{"version":1,"version":1,"entries":[]}',
        b'{"version":1,"entries":[{"a":\xff}]}',
        b'{"version":1,"entries":[{"a":"\xc3',
        b'{"version":1,"entries":[' + b"[" * 100_000,
        b'{"version":1,"entries":[{"a":' + b"1" * 10_000 + b"}]}",
        b'{1:1,"entries":[]}',
    ],
)
def test_what_is_no_table(text):
    with pytest.raises(InvalidLayerError, match="table"):
        entries_of(text, range(0, len(text), 50))


def test_an_entry_has_a_bound():
    def endless():
        yield b'{"version":1,"entries":[{"a":"'
        while True:
            yield b"x" * 100_000

    read = 0

    def counted():
        nonlocal read
        for piece in endless():
            read += len(piece)
            yield piece

    with pytest.raises(InvalidLayerError, match="not JSON"):
        list(TableEntries(counted()))
    assert read < ENTRY_LIMIT + 200_000


def test_an_entry_that_comes_byte_by_byte_is_not_scanned_at_each():
    text = json.dumps({"version": 1, "entries": [{"name": "x" * 500_000}] * 2}).encode()
    entries = TableEntries(text[at : at + 1] for at in range(len(text)))
    scan, scanned = entries._scan, 0

    def counted(found, at):
        nonlocal scanned
        scanned += len(found) - at
        return scan(found, at)

    entries._scan = counted
    assert len(list(entries)) == 2
    assert scanned < 20 * len(text)


def test_a_line_of_tar_split_that_comes_byte_by_byte():
    records = [b"abc" * 10_000, 5, b"end"]
    lines = [
        {"type": 1, "size": one}
        if isinstance(one, int)
        else {"type": 2, "payload": base64.b64encode(one).decode(), "position": 0}
        for one in records
    ]
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    assert list(parse_tar_split(text[at : at + 1] for at in range(len(text)))) == records


def test_blanks_are_passed_quickly():
    text = b'{"version":1,' + b" " * (16 << 20) + b'"entries":[]}'
    assert entries_of(text, range(0, len(text), 100_000)) == ([], {"version": 1})


def reg(offset, end, size=10, digest=DIGEST, **more):
    return {
        "type": "reg",
        "offset": offset,
        "endOffset": end,
        "size": size,
        "digest": digest,
    } | more


def rows_of(*entries, data_end=1_000, limit=UNPACKED_LIMIT):
    return file_rows(entries, data_end, limit)


def test_rows_are_the_files_with_content():
    found = rows_of(
        {"type": "dir"},
        reg(10, 20),
        {"type": "chunk", "offset": 15},
        {"type": "reg"},
        reg(20, 1_000, size=5),
    )
    assert (list(found.starts), list(found.ends), list(found.sizes)) == (
        [10, 20],
        [20, 1_000],
        [10, 5],
    )
    assert found.digest(1) == bytes.fromhex("ab" * 32)


@pytest.mark.parametrize(
    "entries",
    [
        [reg(10, 20), reg(19, 30)],
        [reg(10, 20), reg(5, 8)],
        [reg(10, 10)],
        [reg(20, 10)],
        [reg(10, 1_001)],
        [reg(-1, 10)],
        [reg(1.5, 10)],
        [reg(True, 10)],
        [reg("1", 10)],
        [reg(1 << 63, 1 << 64)],
        [reg(10, 20, size=-1)],
        [reg(10, 20, digest="sha512:" + "ab" * 64)],
        [reg(10, 20, digest=None)],
        [reg(10, 20, innerOffset=5)],
        [reg(10, 20, size=600), reg(20, 30, size=600)],
    ],
)
def test_rows_that_cannot_be(entries):
    with pytest.raises(InvalidLayerError, match="table"):
        rows_of(*entries, limit=1_000)


def test_the_number_of_entries_has_a_bound():
    with pytest.raises(InvalidLayerError, match="more than 1000000 entries"):
        file_rows(({} for _ in range(1_000_001)), 1_000, 1_000)


LENGTHS = st.one_of(st.integers(1, 300), st.integers(1, 3 * GAP_LIMIT))


@given(st.lists(st.tuples(LENGTHS, LENGTHS, st.booleans())))
@UNHURRIED
def test_a_plan_has_all_that_is_wanted_and_little_else(layout):
    rows, wanted, place = FileRows(), [], 0
    for row, (gap, length, is_wanted) in enumerate(layout):
        rows.add(place + gap, place + gap + length, 1, bytes(32))
        place += gap + length
        if is_wanted:
            wanted.append(row)
    spans = plan_spans(rows, wanted)
    assert all(one.end < other.start for one, other in pairwise(spans))
    for row in wanted:
        assert any(span.start <= rows.starts[row] and rows.ends[row] <= span.end for span in spans)
    asked_for = sum(rows.ends[row] - rows.starts[row] for row in wanted)
    assert sum(span.size for span in spans) <= asked_for * (1 + 1 / WASTE_SHARE) + WASTE_FLOOR
    assert bool(spans) == bool(wanted)


def test_what_is_close_together_is_asked_for_as_one():
    rows = FileRows()
    for start in (0, 1_100, 2_200, 900_000):
        rows.add(start, start + 1_000, 1, bytes(32))
    assert plan_spans(rows, range(4)) == [Span(0, 3_200), Span(900_000, 901_000)]


def test_parts_are_worth_it_only_if_they_cost_less():
    assert is_worthwhile([], 1)
    assert is_worthwhile([Span(0, 100)], REQUEST_BYTES + 101)
    assert not is_worthwhile([Span(0, 100)], REQUEST_BYTES + 100)


SPLIT_RECORDS = st.lists(st.binary(min_size=1) | st.integers(1, 1 << 40))


@given(SPLIT_RECORDS, st.data())
@heavy(25, full=2_000)
def test_tar_split_comes_out_as_it_went_in(records, data):
    lines = [
        {"type": 1, "name": "n", "size": record, "payload": "AAAA", "position": place}
        if isinstance(record, int)
        else {"type": 2, "payload": base64.b64encode(record).decode(), "position": place}
        for place, record in enumerate(records)
    ]
    lines.append({"type": 1, "name": "empty", "payload": None, "position": len(records)})
    text = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
    cut = data.draw(st.integers(0, len(text)))
    assert list(parse_tar_split([text[:cut], text[cut:]])) == records


@pytest.mark.parametrize(
    "text",
    [
        b"x",
        b"[]",
        b"{}",
        b'{"type":3,"payload":"AAAA"}',
        b'{"type":2}',
        b'{"type":2,"payload":"A","position":0}',
        b'{"type":2,"payload":"!AAA"}',
        b'{"type":1,"size":-1}',
        b'{"type":1,"size":"1"}',
        b"[" * 100_000,
        b"x" * (LINE_LIMIT + 1),
    ],
)
def test_what_is_no_tar_split(text):
    with pytest.raises(InvalidLayerError, match=r"tar-split|table"):
        list(parse_tar_split([text]))


def described(tar):
    """What a table made of a tar stream says, and what bootd's tar reader says."""
    entries = []
    zstd_chunked(tar, edit=lambda table: entries.extend(table["entries"]))
    reader = TarReader([tar])
    found = []
    while (one := reader.next()) is not None:
        found.append(one)
    return [tar_entry(one) for one in entries], found


def test_metadata_are_those_of_the_tar_header():
    special = entry("dev/null", tarfile.CHRTYPE, mode=0o666)
    special.devmajor, special.devminor = 1, 3
    tar = tar_layer(
        [
            (entry("usr", tarfile.DIRTYPE, mode=0o1755, uid=5, gid=1 << 31), b""),
            (entry("usr/a", xattrs={"user.x": "y", "security.capability": "\1\2"}), b"content"),
            (entry("usr/" + "n" * 150, mtime=1_700_000_000.25, mode=0o4755), b""),
            (entry("usr/before", mtime=-1.5), b""),
            (entry("usr/late", mtime=4_000_000_000), b""),
            (entry("usr/link", tarfile.SYMTYPE, target="ä"), b""),
            (entry("usr/hard", tarfile.LNKTYPE, target="usr/a"), b""),
            (entry("usr/fifo", tarfile.FIFOTYPE), b""),
            (special, b""),
        ]
    )
    table, stream = described(tar)
    for one in stream:
        one.kind = b""
    assert table == stream


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "socket"},
        {"type": None},
        {"name": 1},
        {"name": "b\ufffd"},
        {"name": "a\0b"},
        {"name": "\ud800"},
        {"linkName": "\ufffd"},
        {"mode": "0755"},
        {"uid": -1},
        {"gid": 1 << 32},
        {"modtime": "yesterday"},
        {"modtime": "2026-13-01T00:00:00Z"},
        {"modtime": "2026-01-01T00:00:00"},
        {"xattrs": {"user.x": "!"}},
        {"xattrs": {"user.x": 1}},
        {"xattrs": {"": ""}},
        {"xattrs": ["user.x"]},
        {"type": "char", "devMajor": 1 << 12},
    ],
)
def test_metadata_that_cannot_be(changes):
    with pytest.raises(InvalidLayerError, match=r"table|impossible"):
        tar_entry({"type": "dir", "name": "usr"} | changes)


def test_a_time_that_is_not_set_is_the_epoch():
    for entry_of_table in ({}, {"modtime": "0001-01-01T00:00:00Z"}, {"modtime": ""}):
        found = tar_entry({"type": "dir", "name": "usr"} | entry_of_table)
        assert (found.mtime_seconds, found.mtime_nanoseconds) == (0, 0)
    zoned = tar_entry({"type": "dir", "name": "usr", "modtime": "1970-01-01T01:00:00.5+01:00"})
    assert (zoned.mtime_seconds, zoned.mtime_nanoseconds) == (0, 500_000_000)


def test_the_test_writer_writes_what_unpacks_to_the_stream():
    tar = tar_layer({"a": b"x" * 300_000, "b": b"", "c": None})
    packed = zstd_chunked(tar)
    assert b"".join(frames([packed.blob], Compression.ZSTD)) == tar
