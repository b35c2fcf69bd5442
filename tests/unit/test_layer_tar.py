"""The tar reader: every way to write an entry, the standard library as oracle, and damage."""

import contextlib
import io
import os
import stat
import tarfile
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tar_blocks import (
    END,
    base_256,
    extended,
    header,
    long_name,
    member,
    octal,
    padded,
    record,
)

from bootd.model.errors import InvalidLayerError
from bootd.store.tar.header import HARD_LINK, parse_records, parse_time
from bootd.store.tar.reader import TarReader


def read(stream, size=10_000):
    """All entries with their contents."""
    reader = TarReader(stream[at : at + size] for at in range(0, len(stream), size))
    found = []
    while (entry := reader.next()) is not None:
        found.append((entry, b"".join(reader.content())))
    return found


def read_one(stream):
    ((entry, content),) = read(stream)
    return entry, content


def test_a_plain_file():
    entry, content = read_one(
        member(b"usr/bin/tool", b"x" * 700, mode=octal(0o104755, 8), uid=octal(5, 8)) + END
    )
    assert (entry.name, content) == (b"usr/bin/tool", b"x" * 700)
    assert (entry.permissions, entry.uid, entry.gid) == (0o4755, 5, 0)
    assert (entry.mtime_seconds, entry.mtime_nanoseconds) == (1_000_000, 0)
    assert entry.file_type == stat.S_IFREG


@pytest.mark.parametrize(
    ("kind", "file_type"),
    [
        (b"0", stat.S_IFREG),
        (b"\0", stat.S_IFREG),
        (b"7", stat.S_IFREG),
        (b"1", HARD_LINK),
        (b"2", stat.S_IFLNK),
        (b"3", stat.S_IFCHR),
        (b"4", stat.S_IFBLK),
        (b"5", stat.S_IFDIR),
        (b"6", stat.S_IFIFO),
    ],
)
def test_types(kind, file_type):
    stream = header(b"node", kind, link=b"target", major=octal(8, 8), minor=octal(300, 8))
    entry, content = read_one(stream + END)
    assert (entry.file_type, entry.link, content) == (file_type, b"target", b"")
    devices = (stat.S_IFCHR, stat.S_IFBLK)
    assert entry.device == (os.makedev(8, 300) if file_type in devices else 0)


def test_an_old_folder_is_a_file_with_a_slash():
    entry, _ = read_one(header(b"folder/", b"\0", magic=b"") + END)
    assert entry.file_type == stat.S_IFDIR


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"5", b"6"])
def test_what_has_no_content_has_none_whatever_its_size_says(kind):
    (first, _), (second, _) = read(header(b"a", kind, size=5000) + member(b"b") + END)
    assert (first.stored, second.name) == (0, b"b")


def test_posix_prefix_and_gnu_times_in_its_place():
    entry, _ = read_one(header(b"name", rest=b"some/folder") + END)
    assert entry.name == b"some/folder/name"
    entry, _ = read_one(header(b"name", magic=b"ustar  \0", rest=octal(99, 12)) + END)
    assert entry.name == b"name"


def test_gnu_long_names():
    name, link = b"folder/" * 100 + b"\xff", b"target/" * 100
    entry, _ = read_one(
        long_name(name) + long_name(link, b"K") + header(b"cut", b"2", link=b"cut") + END
    )
    assert (entry.name, entry.link) == (name, link)


@pytest.mark.parametrize("value", [0, 1, 8**7, 2**31, 2**32 - 1])
def test_large_numbers_in_base_256(value):
    entry, _ = read_one(header(uid=base_256(value, 8), gid=base_256(value, 8)) + END)
    assert (entry.uid, entry.gid) == (value, value)


@pytest.mark.parametrize("value", [-1, -(2**40), 2**40, -62_135_596_800])
def test_times_in_base_256(value):
    entry, _ = read_one(header(mtime=base_256(value, 12)) + END)
    assert entry.mtime_seconds == value


@pytest.mark.parametrize(
    "text",
    [b"0000644\0", b" 644\0\0\0\0", b"   644 \0", b"644     ", b"0644\0rst", b"0644 \0\xff\xff"],
)
def test_ways_to_pad_an_octal_number(text):
    assert read_one(header(mode=text) + END)[0].permissions == 0o644


def test_extended_records_override():
    name = b"f\xf6\xf6/" * 200 + b"last"
    entry, content = read_one(
        extended(
            (b"path", name),
            (b"mtime", b"1700000000.123456789"),
            (b"uid", b"4000000000"),
            (b"gid", b"70000"),
            (b"size", b"3"),
            (b"hdrcharset", b"BINARY"),
            (b"SCHILY.xattr.security.capability", b"\1\0\0\2\n=\0\xff"),
            (b"SCHILY.xattr.user.empty", b""),
            (b"LIBARCHIVE.xattr.user.other", b"aWdub3JlZA"),
            (b"comment", b"ignored"),
        )
        + header(b"short")
        + padded(b"abc")
        + END
    )
    assert (entry.name, content) == (name, b"abc")
    assert (entry.mtime_seconds, entry.mtime_nanoseconds) == (1_700_000_000, 123_456_789)
    assert (entry.uid, entry.gid) == (4_000_000_000, 70_000)
    assert entry.xattrs == {b"security.capability": b"\1\0\0\2\n=\0\xff", b"user.empty": b""}


CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


@pytest.mark.parametrize("first", ["SCHILY", "LIBARCHIVE"])
@pytest.mark.parametrize("both", [False, True])
def test_a_capability_as_libarchive_spells_it(first, both):
    records = {
        "LIBARCHIVE": (
            b"LIBARCHIVE.xattr.security.capability",
            b64encode(CAPABILITY).rstrip(b"="),
        ),
        "SCHILY": (b"SCHILY.xattr.security.capability", b"this counts"),
    }
    names = sorted(records, key=lambda name: name != first) if both else ["LIBARCHIVE"]
    entry, _ = read_one(extended(*(records[name] for name in names)) + header(b"ping") + END)
    assert entry.xattrs == {b"security.capability": b"this counts" if both else CAPABILITY}


def test_a_capability_that_is_no_base64_is_refused():
    record = (b"LIBARCHIVE.xattr.security.capability", b"\xff\xff")
    with pytest.raises(InvalidLayerError, match="capability"):
        read_one(extended(record) + header(b"ping") + END)


@pytest.mark.parametrize("key", ["path", "linkpath", "mtime", "uid", "gid", "size"])
def test_a_record_without_a_value_leaves_what_the_header_says(key):
    key = key.encode()
    plain = header(b"name", size=3, uid=octal(7, 8), gid=octal(8, 8), link=b"link") + b"abc"
    expected, content = read_one(padded(plain) + END)
    for records in ([(key, b"")], [(key, b"12"), (key, b"")]):
        entry, found = read_one(extended(*records) + padded(plain) + END)
        assert (entry, found) == (expected, content)


def test_attributes_without_a_namespace_are_left_out():
    names = (b"caps", b"user.kept", b"nothing")
    records = [(b"SCHILY.xattr." + name, b"value") for name in names]
    entry, _ = read_one(extended(*records) + member(b"a") + END)
    assert entry.xattrs == {b"user.kept": b"value"}


def test_the_last_record_of_a_key_counts():
    records = [(b"path", b"one"), (b"uid", b"x"), (b"path", b"two"), (b"uid", b"7")]
    entry, _ = read_one(extended(*records) + member(b"a") + END)
    assert (entry.name, entry.uid) == (b"two", 7)


def test_records_are_for_one_entry_and_global_ones_for_none():
    first, second, third = read(
        extended((b"uid", b"7"), kind=b"g")
        + extended((b"path", b"renamed"))
        + member(b"a")
        + member(b"b")
        + extended((b"linkpath", b"x" * 300))
        + header(b"c", b"2", link=b"cut")
        + END
    )
    assert [entry.name for entry, _ in (first, second, third)] == [b"renamed", b"b", b"c"]
    assert first[0].uid == 0
    assert third[0].link == b"x" * 300


@pytest.mark.parametrize(
    ("text", "time"),
    [
        (b"0", (0, 0)),
        (b"1.5", (1, 500_000_000)),
        (b"1.", (1, 0)),
        (b"1.000000001", (1, 1)),
        (b"1.0000000019", (1, 1)),
        (b"9007199254740993.999999999", (9_007_199_254_740_993, 999_999_999)),
        (b"-1", (-1, 0)),
        (b"-0.5", (-1, 500_000_000)),
        (b"-1.000000001", (-2, 999_999_999)),
    ],
)
def test_times_are_exact(text, time):
    assert parse_time(text) == time


@pytest.mark.parametrize("text", [b"", b".", b"x", b"1e5", b"+1", b"--1", b"1.5.5", b"9" * 19])
def test_what_is_no_time(text):
    with pytest.raises(InvalidLayerError, match="time"):
        parse_time(text)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.binary(max_size=1200))))
def test_records_come_back(pairs):
    pairs = [(key.replace(b"=", b"").replace(b"\0", b"") or b"k", value) for key, value in pairs]
    assert parse_records(b"".join(record(key, value) for key, value in pairs)) == pairs


@pytest.mark.parametrize(
    "data",
    [b"4 a=\n", b"7 a=b\n", b"0 a=b\n", b"99 a=b\n", b"6 ab\nx", b"a=b\n", b"6 a=bx", b"6 =ab\n"],
)
def test_damaged_records(data):
    with pytest.raises(InvalidLayerError, match="extended header"):
        parse_records(data)


SPARSE = b"A" * 512 + bytes(70_000) + b"B" * 100 + bytes(30_000)
SEGMENTS = [(0, 512), (70_512, 100), (100_612, 0)]
DATA = b"A" * 512 + b"B" * 100


def pax_0_0():
    pairs = [(b"GNU.sparse.size", b"%d" % len(SPARSE)), (b"GNU.sparse.numblocks", b"3")]
    for offset, length in SEGMENTS:
        pairs += [
            (b"GNU.sparse.offset", b"%d" % offset),
            (b"GNU.sparse.numbytes", b"%d" % length),
        ]
    return extended(*pairs) + member(b"sparse", DATA)


def pax_0_1():
    text = b",".join(b"%d,%d" % segment for segment in SEGMENTS)
    return extended(
        (b"GNU.sparse.name", b"sparse"),
        (b"GNU.sparse.size", b"%d" % len(SPARSE)),
        (b"GNU.sparse.map", text),
    ) + member(b"GNUSparseFile.0/sparse", DATA)


def pax_1_0():
    text = b"3\n" + b"".join(b"%d\n%d\n" % segment for segment in SEGMENTS)
    return extended(
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"sparse"),
        (b"GNU.sparse.realsize", b"%d" % len(SPARSE)),
    ) + member(b"GNUSparseFile.0/sparse", padded(text) + DATA)


def old_gnu():
    first = bytes(41) + b"".join(octal(a, 12) + octal(b, 12) for a, b in SEGMENTS[:2])
    rest = first.ljust(137, b"\0") + b"\1" + octal(len(SPARSE), 12)
    more = (octal(SEGMENTS[2][0], 12) + octal(0, 12)).ljust(512, b"\0")
    return (
        header(b"sparse", b"S", magic=b"ustar  \0", size=len(DATA), rest=rest) + more + padded(DATA)
    )


@pytest.mark.parametrize("write", [pax_0_0, pax_0_1, pax_1_0, old_gnu])
@pytest.mark.parametrize("cut", [100, 512, 1 << 20])
def test_sparse_files(write, cut):
    (entry, content), (after, _) = read(write() + member(b"after") + END, cut)
    assert (entry.name, entry.size, after.name) == (b"sparse", len(SPARSE), b"after")
    assert content == SPARSE


def test_sparse_records_without_a_value():
    empty = [b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.name", b"GNU.sparse.map"]
    stream = extended(*((key, b"") for key in empty), (b"GNU.sparse.size", b""))
    entry, content = read_one(stream + member(b"plain", b"abc") + END)
    assert (entry.name, content) == (b"plain", b"abc")
    pairs = [(b"GNU.sparse.name", b""), (b"GNU.sparse.size", b""), (b"GNU.sparse.realsize", b"5")]
    stream = extended(*pairs, (b"GNU.sparse.map", b"2,3"))
    entry, content = read_one(stream + member(b"sparse", b"abc") + END)
    assert (entry.name, content) == (b"sparse", b"\0\0abc")


@pytest.mark.parametrize(
    "text",
    [
        b"0,512,100,100",  # overlapping
        b"0,512,600",  # half a segment
        b"0,512,600,99",  # less than there is
        b"0,512,600,101",  # more than there is
        b"0,512,200000,100",  # behind the end
        b"0,x",
        b"-1,512,600,100",
    ],
)
def test_damaged_sparse_maps(text):
    stream = extended((b"GNU.sparse.size", b"100612"), (b"GNU.sparse.map", text))
    with pytest.raises(InvalidLayerError):
        read(stream + member(b"sparse", DATA) + END)


@pytest.mark.parametrize("text", [b"x\n", b"99999999\n", b"2\n0\n1\n", b"", b"1\n0\n" + b"9" * 30])
def test_damaged_sparse_maps_before_the_data(text):
    stream = extended(
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.realsize", b"1"),
    )
    with pytest.raises(InvalidLayerError):
        read(stream + member(b"sparse", padded(text)) + END)


def test_a_sparse_map_without_a_newline_is_refused_at_its_first_block():
    stream = sparse_1_0(b"1" * (4 << 20))
    taken = 0

    def pieces():
        nonlocal taken
        for at in range(0, len(stream), 512):
            taken += 512
            yield stream[at : at + 512]

    with pytest.raises(InvalidLayerError, match="no number in its sparse map"):
        TarReader(pieces()).next()
    assert taken <= 4 * 512


@pytest.mark.parametrize("before", [b"1", b"1\n0", b"1\n0\n1"])
def test_each_number_of_a_sparse_map_has_a_bound(before):
    with pytest.raises(InvalidLayerError, match="no number in its sparse map"):
        read(sparse_1_0(before + b"0" * 1_000))


def sparse_1_0(text):
    return (
        extended(
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.realsize", b"1"),
        )
        + member(b"sparse", padded(text))
        + END
    )


def test_no_way_to_say_a_name_takes_a_nul():
    numbers = ((b"GNU.sparse.size", b"0"), (b"GNU.sparse.numblocks", b"0"))
    for key in (b"path", b"linkpath", b"GNU.sparse.name"):
        with pytest.raises(InvalidLayerError, match="NUL"):
            read(extended(*numbers, (key, b"etc/pass\0wd")) + member(b"x") + END)


def test_an_unknown_sparse_format():
    stream = extended((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0"))
    with pytest.raises(InvalidLayerError, match="unknown format"):
        read(stream + member(b"sparse") + END)


GOOD = member(b"a", b"x" * 1000)


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        pytest.param(GOOD[:300], "ends in the middle", id="half a header"),
        pytest.param(GOOD[:700], "ends in the middle", id="half a content"),
        pytest.param(GOOD[:1511], "ends in the middle", id="content without its last byte"),
        pytest.param(GOOD + bytes(512) + GOOD, "zero block.*after entry 'a'", id="a zero block"),
        pytest.param(GOOD + bytes(512) + b"\1", "zero block", id="a zero block and a byte"),
        pytest.param(b"\1" + GOOD[1:], "checksum", id="checksum"),
        pytest.param(b"no tar at all " * 100, "damaged header", id="no tar"),
        pytest.param(header(mode=b"rw-r--r-"), "octal", id="mode"),
        pytest.param(header(mode=b"0000888\0"), "octal", id="not octal"),
        pytest.param(header(size=b"-0000000001\0"), "octal", id="negative size"),
        pytest.param(header(size=base_256(-5, 12)), "impossible size", id="negative base-256"),
        pytest.param(header(uid=base_256(2**33, 8)), "impossible uid", id="uid"),
        pytest.param(header(b"a", b"3", major=octal(4096, 8)), "device major", id="major"),
        pytest.param(header(b"vol", b"V"), "unknown tar type", id="volume"),
        pytest.param(header(b"vol", b"M"), "unknown tar type", id="multi-volume"),
        pytest.param(header(b"e", b"x", size=10), "ends in the middle", id="half an extension"),
        pytest.param(extended((b"path", b"a")), "ends after", id="nothing after an extension"),
        pytest.param(header(b"e", b"x", size=8**10), "extended header of", id="huge extension"),
        pytest.param(header(b"e", b"L", size=8**10), "extended header of", id="huge long name"),
        pytest.param(extended((b"path", b"a\0b")) + GOOD, "NUL", id="NUL in a path"),
        pytest.param(extended((b"linkpath", b"a\0b")) + GOOD, "NUL", id="NUL in a link"),
        pytest.param(extended((b"size", b"1e3")) + GOOD, "malformed number", id="size record"),
        pytest.param(extended((b"uid", b"-1")) + GOOD, "malformed number", id="uid record"),
        pytest.param(
            extended((b"SCHILY.xattr." + b"user." + b"n" * 251, b"")) + GOOD,
            "extended attribute",
            id="long attribute name",
        ),
        pytest.param(
            extended((b"SCHILY.xattr.user.a", b"x" * 100_000)) + GOOD,
            "bytes of extended attributes",
            id="huge attribute",
        ),
        pytest.param(
            extended(*((b"SCHILY.xattr.user.%04d" % at, b"x") for at in range(2500))) + GOOD,
            "'a' has 42512 bytes of extended attributes, more than 32767$",
            id="many attributes",
        ),
    ],
)
def test_damage_is_named(stream, words):
    with pytest.raises(InvalidLayerError, match=words):
        read(stream + (END if "ends" not in words else b""))


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(header(b"sub/folder/culprit", mode=b"09999999"), id="mode"),
        pytest.param(header(b"culprit", mtime=base_256(2**90, 12)), id="time"),
        pytest.param(header(b"culprit", size=base_256(-1, 12)), id="size"),
        pytest.param(header(b"culprit", b"3", minor=octal(0o7777777, 8)), id="minor"),
        pytest.param(extended((b"mtime", b"1.7e9")) + member(b"culprit"), id="time record"),
        pytest.param(extended((b"gid", b"root")) + member(b"culprit"), id="gid record"),
        pytest.param(
            extended((b"path", b"long/" * 400 + b"culprit"), (b"size", b"-1")) + member(b"x"),
            id="size record",
        ),
        pytest.param(extended((b"SCHILY.xattr.", b"1")) + member(b"culprit"), id="attribute"),
        pytest.param(
            extended((b"GNU.sparse.map", b"1,2,x,y")) + member(b"culprit"), id="sparse map"
        ),
        pytest.param(
            header(b"culprit", b"S", magic=b"ustar  \0", rest=bytes(41) + b"x" * 24), id="old map"
        ),
        pytest.param(member(b"culprit") + b"no header at all" * 32, id="the one before"),
        pytest.param(member(b"culprit") + extended((b"a", b"b")) + END, id="nothing after records"),
        pytest.param(member(b"\xff" * 80 + b"culprit") + header(b"\xfe" * 100, b"V"), id="ugly"),
    ],
)
def test_a_message_names_the_entry_and_is_short(stream):
    with pytest.raises(InvalidLayerError) as caught:
        read(stream + END)
    message = caught.value.message
    assert "culprit" in message or "\\udcfe" in message
    assert "entry " in message
    assert len(message) <= 250


@pytest.mark.parametrize("end", [b"", bytes(300), bytes(412), bytes(412) + END])
def test_padding_may_be_missing_at_the_end(end):
    stream = member(b"a", b"x" * 100)[: 512 + 100] + end
    entry, content = read_one(stream)
    assert (entry.name, content) == (b"a", b"x" * 100)


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(700), END, END + b"what follows" * 1000])
def test_ends(end):
    source = iter([member(b"a"), end, b"more" if end[1023:] else b""])
    reader = TarReader(source)
    assert reader.next() is not None
    assert reader.next() is None
    assert next(source, None) is None


def test_content_that_nobody_reads_is_passed_over():
    reader = TarReader([member(b"a", b"x" * 2000) + member(b"b", b"y") + END])
    assert [entry.name for entry in (reader.next(), reader.next()) if entry] == [b"a", b"b"]
    assert reader.read() == b"y"


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=120)


DEVICES = st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1))


@st.composite
def tar_infos(draw):
    info = tarfile.TarInfo("/".join(draw(st.lists(TEXT, min_size=1, max_size=4))))
    info.type = draw(st.sampled_from([b"0", b"1", b"2", b"3", b"4", b"5", b"6"]))
    info.mode = draw(st.integers(0, 0o7777))
    info.uid, info.gid = draw(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)))
    info.mtime = draw(st.integers(-(2**40), 2**40))
    if info.type in b"12":
        info.linkname = "/".join(draw(st.lists(TEXT, min_size=1, max_size=3)))
    if info.type in b"34":
        info.devmajor, info.devminor = draw(
            st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1))
        )
    content = draw(st.binary(max_size=1500)) if info.type == b"0" else b""
    info.size = len(content)
    return info, content


@settings(max_examples=60, deadline=None)
@given(
    st.lists(tar_infos(), max_size=5),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.integers(1, 3000),
)
def test_the_standard_library_writes_and_reads_the_same(pairs, form, cut):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form, errors="surrogateescape") as archive:
        for info, content in pairs:
            archive.addfile(info, io.BytesIO(content))
    found = read(stream.getvalue(), cut)
    stream.seek(0)
    with tarfile.open(fileobj=stream, errors="surrogateescape") as archive:
        expected = list(archive)
    assert len(found) == len(expected)
    for (entry, content), info, (_, given_content) in zip(found, expected, pairs, strict=True):
        assert os.fsdecode(entry.name).rstrip("/") == info.name
        assert os.fsdecode(entry.link) == info.linkname
        assert (entry.permissions, entry.uid, entry.gid) == (info.mode, info.uid, info.gid)
        assert entry.mtime_seconds == info.mtime
        assert content == given_content
        if info.type in b"34":
            assert entry.device == os.makedev(info.devmajor, info.devminor)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_anywhere_raises_nothing_else(data):
    stream = bytearray(extended((b"path", b"a" * 200)) + GOOD + pax_1_0() + old_gnu() + END)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(stream)))
    with contextlib.suppress(InvalidLayerError):
        read(bytes(stream[:length]))
