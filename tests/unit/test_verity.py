"""fs-verity digests, against an independent reading of the kernel's description."""

import hashlib
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootd.model.errors import WriteFailedError
from bootd.model.hash_algorithm import HASH_ALGORITHMS, SHA256, SHA512
from bootd.store.objects import multi_buffer
from bootd.store.objects.measuring import measure, measure_all
from bootd.store.objects.multi_buffer import BLOCK
from bootd.store.objects.verity import VerityHash, enable_verity, verity_digest

EDGES = [
    0, 1, 63, 64, 65, 4095, 4096, 4097, 8192,
    128 * 4096 - 1, 128 * 4096, 128 * 4096 + 1, 129 * 4096, 128 * 128 * 4096, 128 * 128 * 4096 + 1,
]  # fmt: skip


@pytest.fixture(params=HASH_ALGORITHMS.values(), ids=list(HASH_ALGORITHMS))
def algorithm(request):
    return request.param


def reference(data, algorithm=SHA256):
    """The description of the kernel's documentation, word for word and slow."""
    new = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}[algorithm.name]
    level = [data[start : start + 4096] for start in range(0, len(data), 4096)]
    root = bytes(64)
    while level:
        hashes = [new(block.ljust(4096, b"\0")).digest() for block in level]
        if len(hashes) == 1:
            root = hashes[0]
            break
        joined = b"".join(hashes)
        level = [joined[start : start + 4096] for start in range(0, len(joined), 4096)]
    number = {"sha256": 1, "sha512": 2}[algorithm.name]
    descriptor = struct.pack(
        "<BBBBIQ64s32s144s", 1, number, 12, 0, 0, len(data), root, bytes(32), bytes(144)
    )
    return new(descriptor).digest()


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        # printed by `fsverity digest` of fsverity-utils
        (b"", "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"),
        (b"x", "dbbdfa9d606f7adeaa7f16dcfb0d49161c4cfb82d9d51cfb5cb43fa3dacb9e5b"),
        (b"x" * 4097, "f54d7eca1ac49ae471f4abedb0d9309f0b84a51ec5c1733e3abb2aaf9f66c4ad"),
        (b"x" * 600_001, "e02a1c215a2000378776fac8a368e697376b032fb1ae6e93f16e2fb92fb8cfa1"),
    ],
)
def test_known_digests(data, digest):
    assert verity_digest(data, SHA256).hex() == digest


@pytest.mark.parametrize(
    ("size", "digest"),
    [
        # the beginning of what `fsverity digest --hash-alg=sha512` printed
        (0, "ccf9e5aea1c2a64efa2f2354a6024b90dffde6bbc017825045dce374474e13d1"),
        (1, "3a1e81eea2e2135b4dd85d13b1d85b04dcd6056227bca6b53357908e353d246e"),
        (4097, "5e97be140a983cb681c1add620fea9d609feafe5affad0f84457b3c880142d76"),
        (600_001, "e743e16abdc25e33be15808f6c347a2cf23c9e1e6e13e647dc9b4bd6a2f5a574"),
    ],
)
def test_known_digests_of_sha512(size, digest):
    found = verity_digest(b"x" * size, SHA512).hex()
    assert (found[:64], len(found)) == (digest, 128)


@pytest.fixture(params=["as here", "one by one"])
def hashing(request, monkeypatch):
    """Hash as this machine does best, and as one without a library for that."""
    if request.param == "one by one":
        monkeypatch.setattr(multi_buffer, "_idle", lambda _: [])


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.usefixtures("hashing")
def test_whole_and_running_digests_agree_with_the_description(size, algorithm):
    data = (b"%d" % size + b"0123456789abcdef" * (size // 16 + 1))[:size]
    running = VerityHash(algorithm)
    for start in range(0, size, 1_000_003):
        running.update(data[start : start + 1_000_003])
    assert verity_digest(data, algorithm) == running.digest() == reference(data, algorithm)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3 * BLOCK), max_size=12))
def test_how_the_pieces_are_cut_does_not_matter(sizes):
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    running = VerityHash(SHA256)
    for piece in pieces:
        running.update(piece)
    assert running.digest() == verity_digest(b"".join(pieces), SHA256)


def test_measure_reads_a_file(tmp_path, algorithm):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 600_001)
    assert measure(path, algorithm) == verity_digest(b"x" * 600_001, algorithm)


def test_measure_of_a_missing_file_names_it(tmp_path):
    with pytest.raises(WriteFailedError, match="nothing-here"):
        measure(tmp_path / "nothing-here", SHA256)


def test_many_are_measured_in_turn_whatever_their_size(tmp_path, algorithm):
    contents = {f"{size:06}": b"x" * size for size in (0, 1, BLOCK, 65_535, 65_536, 600_001)}
    contents |= {f"small{number}": b"%d" % number for number in range(200)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    names = [*contents, "nothing-here", "small7"]
    *found, missing, again = measure_all([str(tmp_path / name) for name in names], algorithm)
    assert found == [verity_digest(content, algorithm) for content in contents.values()]
    assert again == verity_digest(b"7", algorithm)
    assert isinstance(missing, WriteFailedError)
    assert "nothing-here" in missing.message


def test_a_file_system_without_verity_says_so_and_the_file_stays_usable():
    path = Path("/proc/self/cmdline")
    assert enable_verity(path, SHA256) is False
    assert path.read_bytes()
