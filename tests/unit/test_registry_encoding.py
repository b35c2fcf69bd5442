"""Content-Encoding: what is unpacked, whatever the pieces are, and what is refused."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootd.model.errors import ServerFailedError
from bootd.registry.wire.encoding import coding_of, unpacked
from bootd.registry.wire.retry import TemporaryFailure

PIECE = 512 << 10


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[place : place + size] for place in range(0, len(data), size))


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", ""),
        ("identity", ""),
        (" GZIP ", "gzip"),
        ("identity, x-gzip", "x-gzip"),
        ("gzip, br", "gzip, br"),
    ],
)
def test_names(header: str, coding: str) -> None:
    assert coding_of(header) == coding


@given(
    data=st.binary(max_size=300),
    size=st.integers(1, 50),
    how=st.sampled_from(["gzip", "two gzip", "zlib", "raw"]),
)
def test_whatever_the_pieces_are(data: bytes, size: int, how: str) -> None:
    packed = {
        "gzip": gzip.compress(data),
        "two gzip": gzip.compress(data[:7]) + gzip.compress(data[7:]),
        "zlib": zlib.compress(data),
        "raw": zlib.compress(data, wbits=-15),
    }[how]
    coding = "gzip" if "gzip" in how else "deflate"
    assert b"".join(unpacked(pieces(packed, size), coding, "h")) == data


def test_little_that_holds_much_comes_in_small_pieces() -> None:
    bomb = gzip.compress(bytes(8 << 20))
    sizes = [len(piece) for piece in unpacked(iter([bomb]), "gzip", "h")]
    assert sum(sizes) == 8 << 20
    assert max(sizes) <= PIECE


@pytest.mark.parametrize("end", [5, 12, 20, -1])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_end_that_comes_too_early(coding: str, end: int) -> None:
    data = bytes(range(256)) * 4
    packed = gzip.compress(data) if coding == "gzip" else zlib.compress(data)
    with pytest.raises(TemporaryFailure, match="too early"):
        list(unpacked(iter([packed[:end]]), coding, "h"))


def test_damage() -> None:
    packed = bytearray(gzip.compress(bytes(range(256))))
    packed[30] ^= 0xFF
    with pytest.raises(TemporaryFailure, match="cannot be unpacked"):
        list(unpacked(iter([bytes(packed)]), "gzip", "h"))


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
def test_what_nobody_asked_for_is_named(coding: str) -> None:
    with pytest.raises(ServerFailedError, match=f"^reg.example packs its answer with '{coding}'"):
        list(unpacked(iter([b"x"]), coding, "reg.example"))


def test_nothing_is_nothing() -> None:
    assert list(unpacked(iter([]), "gzip", "h")) == []
