"""Compressed layers: every kind, cut in every way, damaged in every way, and bombs."""

import bz2
import contextlib
import gzip
import importlib
import lzma
import struct
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tar_blocks import END, member

from bootd.model.errors import InvalidLayerError, UnknownMediaTypeError
from bootd.store.tar.decompress import LEAST_PIECE, STEP, ZlibMember, inflate, unpack, zstd_part

OCI = "application/vnd.oci.image.layer.v1.tar"
TEXT = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(30_000))
SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"table"


def zstd_module():
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return importlib.import_module("backports.zstd")


def zstd_compress(data):
    return zstandard.compress(data)


GZIP_READERS = {
    "gzip": lambda chunks: unpack(chunks, OCI + "+gzip"),
    "zlib": lambda chunks: inflate(chunks, "gzip", ZlibMember, zlib.error),
}
ZSTD_READERS = {
    "zstd": lambda chunks: unpack(chunks, OCI + "+zstd"),
    "standard": lambda chunks: inflate(chunks, "zstd", *zstd_part(zstd_module())),
    "zstandard": lambda chunks: inflate(chunks, "zstd", *zstd_part(zstandard)),
}
# Debian 13 has the third module only.
MARKS = {"standard": [pytest.mark.checkout]}


def readers(*families):
    return [
        pytest.param(read, pack, id=name, marks=MARKS.get(name, []))
        for family, pack in families
        for name, read in family.items()
    ]


each_gzip_reader = pytest.mark.parametrize(
    ("read", "compress"), readers((GZIP_READERS, gzip.compress))
)
each_zstd_reader = pytest.mark.parametrize(
    ("read", "compress"), readers((ZSTD_READERS, zstd_compress))
)
each_reader = pytest.mark.parametrize(
    ("read", "compress"), readers((GZIP_READERS, gzip.compress), (ZSTD_READERS, zstd_compress))
)


def cut(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("media_type", ["", "text/plain", OCI + "+bzip2", "x" * 10_000])
def test_unknown_media_types_are_refused(media_type):
    with pytest.raises(UnknownMediaTypeError):
        list(unpack([b""], media_type))


def test_a_plain_layer_passes_through():
    assert b"".join(unpack(cut(TEXT, 1000), OCI)) == TEXT


TAR = member(b"usr/file", b"x" * 100_000) + END
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "zstd": zstd_compress,
}


@pytest.mark.parametrize("said", ["", "+gzip", "+zstd", ".gzip", "+gzip; charset=utf-8"])
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("size", [1, 300, 1 << 30])
def test_the_bytes_tell_how_a_layer_is_packed(said, packed, size):
    assert b"".join(unpack(cut(PACKED[packed](TAR), size), OCI + said)) == TAR


@pytest.mark.parametrize("said", ["", "+gzip", "+zstd"])
def test_an_empty_archive_is_known(said):
    assert b"".join(unpack([END], OCI + said)) == END


def test_skippable_frames_are_known():
    assert b"".join(unpack([SKIPPABLE + zstd_compress(TAR)], OCI + "+gzip")) == TAR


@pytest.mark.parametrize("said", ["", "+gzip", "+zstd"])
@pytest.mark.parametrize(
    ("blob", "name"),
    [
        (lzma.compress(TAR), "xz"),
        (bz2.compress(TAR), "bzip2"),
        (b"\x04\x22\x4d\x18" + bytes(100), "lz4"),
    ],
    ids=["xz", "bzip2", "lz4"],
)
def test_other_compressions_are_called_by_their_name(said, blob, name):
    with pytest.raises(UnknownMediaTypeError, match=f"compressed with {name}"):
        list(unpack(cut(blob, 5), OCI + said))


def test_a_tar_whose_first_name_looks_compressed_is_a_tar():
    stream = member(b"BZhell", b"x") + END
    assert b"".join(unpack([stream], OCI)) == stream


@each_zstd_reader
def test_a_window_that_is_too_large_is_told_as_that(read, compress):
    # A frame header with a window of 256 MiB (RFC 8878, section 3.1.1.1.2) and a raw block.
    frame = struct.pack("<IBB", 0xFD2FB528, 0, (28 - 10) << 3) + b"\x01\x00\x00"
    with pytest.raises(InvalidLayerError, match="window is larger") as caught:
        list(read([frame]))
    assert "128 MiB" in caught.value.hint
    assert compress


@each_reader
@pytest.mark.parametrize("size", [7, 1000, 1 << 30])
def test_a_stream_cut_anywhere(read, compress, size):
    assert b"".join(read(cut(compress(TEXT[:100_000]), size))) == TEXT[:100_000]


@each_reader
def test_several_parts_are_one_stream(read, compress):
    stream = compress(TEXT) + compress(b"") + compress(TEXT[::-1]) + compress(b"end")
    for size in (1, 333, 1 << 30):
        assert b"".join(read(cut(stream, size * 11))) == TEXT + TEXT[::-1] + b"end"


@each_zstd_reader
def test_skippable_frames_are_skipped(read, compress):
    stream = SKIPPABLE + compress(b"one") + SKIPPABLE + compress(b"two") + SKIPPABLE
    for size in (1, 10, 1000):
        assert b"".join(read(cut(stream, size))) == b"onetwo"


@each_reader
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda stream: stream[:-1], id="one byte short"),
        pytest.param(lambda stream: stream[: len(stream) // 2], id="half"),
        pytest.param(lambda stream: stream[:3], id="three bytes"),
        pytest.param(lambda stream: stream + b"garbage!", id="garbage behind it"),
        pytest.param(lambda stream: stream + stream[:5], id="half a part behind it"),
        pytest.param(lambda _: b"garbage!" * 100, id="garbage"),
    ],
)
def test_damage_is_named(read, compress, damage):
    with pytest.raises(InvalidLayerError, match=r"layer (is damaged|ends in the middle)"):
        list(read(cut(damage(compress(TEXT)), 5000)))


@each_gzip_reader
def test_a_flipped_bit_is_found_by_the_checksum(read, compress):
    stream = bytearray(compress(TEXT))
    stream[-6] ^= 1
    with pytest.raises(InvalidLayerError):
        list(read([bytes(stream)]))


@each_reader
def test_a_bomb_comes_in_small_steps_and_meets_the_bound(read, compress):
    bomb = compress(bytes(64 << 20))
    assert len(bomb) < 100_000
    sizes = [len(piece) for piece in read([bomb])]
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 32 << 20


@pytest.mark.parametrize(("suffix", "pack"), [("+gzip", gzip.compress), ("+zstd", zstd_compress)])
def test_the_callers_bound(suffix, pack):
    sizes: list[int] = []
    pieces = unpack([pack(bytes(64 << 20))], OCI + suffix, limit=1_000_000)
    with pytest.raises(InvalidLayerError, match="more than 1000000 bytes"):
        sizes.extend(len(piece) for piece in pieces)
    assert sum(sizes) <= 1_000_000
    assert max(sizes, default=0) <= STEP


@pytest.mark.parametrize(("suffix", "pack"), [("+gzip", gzip.compress), ("+zstd", zstd_compress)])
def test_small_parts_come_in_large_pieces(suffix, pack):
    stream = b"".join(pack(bytes([letter])) for letter in TEXT[:5_000])
    stream += pack(TEXT) + pack(b"end")
    pieces = list(unpack(cut(stream, 1000), OCI + suffix))
    assert b"".join(pieces) == TEXT[:5_000] + TEXT + b"end"
    assert all(LEAST_PIECE <= len(piece) <= STEP + LEAST_PIECE for piece in pieces[:-1])


def test_a_plain_layer_comes_in_large_pieces():
    pieces = list(unpack(cut(TEXT, 3), OCI))
    assert b"".join(pieces) == TEXT
    assert all(len(piece) >= LEAST_PIECE for piece in pieces[:-1])


@each_reader
@pytest.mark.parametrize("content", [b"", b"x"])
def test_the_number_of_parts_has_a_bound(read, compress, content):
    part = compress(content)
    read_parts = 0

    def stream():
        nonlocal read_parts
        while read_parts < 30_000:
            read_parts += 100
            yield part * 100

    with pytest.raises(InvalidLayerError, match=r"has \d+ parts in its first \d+ bytes"):
        list(read(stream()))
    assert read_parts < 12_000


@each_reader
def test_as_many_parts_as_a_layer_of_small_files_has(read, compress):
    # A header of 512 bytes in a frame, a content in the next.
    parts = compress(bytes(512)) + compress(b"x")
    assert sum(len(piece) for piece in read(parts * 100 for _ in range(120))) == 513 * 12_000


def test_what_follows_the_stream_is_still_consumed():
    source = iter(cut(gzip.compress(TEXT), 100))
    assert b"".join(unpack(source, OCI + "+gzip")) == TEXT
    assert next(source, None) is None


@each_reader
@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=300))
def test_garbage_never_raises_anything_else(read, compress, data):  # noqa: ARG001 - not compressed
    with contextlib.suppress(InvalidLayerError):
        list(read(cut(data, 50)))
