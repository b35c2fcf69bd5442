"""Many blocks at a time, by the real library, beside hashlib."""

import signal
from itertools import accumulate
from pathlib import Path
from platform import machine

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootd.clock import Clock
from bootd.model.hash_algorithm import HASH_ALGORITHMS, SHA256
from bootd.store.objects import multi_buffer
from bootd.store.objects.multi_buffer import BLOCK, BlockHasher, hash_blocks
from bootd.store.objects.verity import verity_digest, verity_digests

pytestmark = pytest.mark.skipif(machine() != "x86_64", reason="the library is for x86-64 alone")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Offer hashers that nobody has used yet, whether they are faster than hashlib here or not."""
    idle = {one: [BlockHasher(one)] for one in HASH_ALGORITHMS.values()}
    monkeypatch.setattr(multi_buffer, "_idle", idle.__getitem__)
    return {one: hashers[0] for one, hashers in idle.items()}


def data_of(blocks):
    return b"".join(number.to_bytes(8, "big") * (BLOCK // 8) for number in range(blocks))


def one_by_one(data, algorithm=SHA256):
    starts = range(0, len(data), BLOCK)
    blocks = [data[start : start + BLOCK].ljust(BLOCK, b"\0") for start in starts]
    return b"".join(algorithm.new(block).digest() for block in blocks)


@pytest.mark.parametrize("blocks", [0, 1, 3, 8, 16, 17, 255, 256, 257, 1023, 1024, 1025, 2049])
@pytest.mark.parametrize("algorithm", HASH_ALGORITHMS.values(), ids=list(HASH_ALGORITHMS))
def test_hashes_are_those_of_hashlib(fresh, blocks, algorithm):
    data = data_of(blocks)
    wanted = [one_by_one(data, algorithm)]
    assert fresh[algorithm].hash_blocks([data]) == wanted
    assert hash_blocks([data], algorithm) == (wanted if blocks > 4 else None)


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK + 1, 16 * BLOCK - 1, 1024 * BLOCK + 1])
def test_the_last_block_counts_as_if_filled_with_zeros(fresh, size):
    data = data_of(1025)[:size]
    assert fresh[SHA256].hash_blocks([data]) == [one_by_one(data)]


def test_contents_are_hashed_apart():
    contents = [data_of(1025)[:size] for size in (5 * BLOCK, 0, 1, BLOCK, BLOCK + 1, 1024 * BLOCK)]
    assert hash_blocks(contents, SHA256) == [one_by_one(data) for data in contents]
    assert hash_blocks([], SHA256) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 300 * BLOCK), max_size=6))
def test_many_measure_as_each_alone(sizes):
    contents = [data_of(300)[:size] for size in sizes]
    found = verity_digests(contents, SHA256)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multi_buffer, "_idle", lambda _: [])
        assert found == [verity_digest(data, SHA256) for data in contents]


def during(seconds, do, interruption):
    """Call what interrupts so many seconds after something has begun; return what that returns."""
    before = signal.signal(signal.SIGALRM, lambda *_: interruption())
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return do()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class GivenUpError(Exception):
    """What a signal's handler raises."""


def give_up():
    raise GivenUpError


def test_one_that_was_interrupted_is_never_asked_again():
    data = data_of(16_384)
    with pytest.raises(GivenUpError):
        during(0.002, lambda: hash_blocks([data], SHA256), give_up)
    assert hash_blocks([data_of(8)], SHA256) is None


def test_who_finds_it_in_use_has_hashlib_do_it():
    data = data_of(16_384)
    found = []
    hashes = during(
        0.002,
        lambda: hash_blocks([data], SHA256),
        lambda: found.append(hash_blocks([data_of(8)], SHA256)),
    )
    assert found == [None]
    assert hashes == [one_by_one(data)]


def test_what_was_hashed_is_not_kept():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1])

    hash_blocks([data_of(256)], SHA256)
    before = resident()
    for _ in range(64):
        hash_blocks([data_of(256)], SHA256)
    assert (resident() - before) * BLOCK < 16 << 20


def test_a_version_whose_structures_are_not_known_is_left_alone(monkeypatch):
    monkeypatch.setattr(multi_buffer, "_VERSIONS", range(0))
    with pytest.raises(OSError, match=r"libIPSec_MB\.so\.[12] is version 0x"):
        BlockHasher(SHA256)


def test_a_machine_without_it_is_told_so(monkeypatch):
    monkeypatch.setattr(multi_buffer, "_LIBRARIES", ("libof-nobody.so.1",))
    with pytest.raises(OSError, match="no libIPSec_MB"):
        BlockHasher(SHA256)


class Stopwatch(Clock):
    """A clock that says what it was given, one after the other."""

    def __init__(self, *seconds):
        object.__setattr__(self, "_seconds", iter(accumulate(seconds)))

    def monotonic(self):
        return next(self._seconds)


@pytest.mark.parametrize(
    ("own", "other", "faster"),
    [
        ([1] * 6, [2] * 6, True),
        ([2] * 6, [1] * 6, False),
        ([9, 9, 9, 9, 1, 9], [2] + [9] * 5, True),
    ],
)
def test_the_shortest_run_says_who_is_faster(fresh, own, other, faster):
    ticks = [tick for took in (*own, *other) for tick in (0, took)]
    assert fresh[SHA256].is_faster(Stopwatch(*ticks)) is faster


def test_one_that_is_no_faster_is_not_asked(monkeypatch):
    monkeypatch.undo()
    multi_buffer._idle.cache_clear()
    monkeypatch.setattr(BlockHasher, "is_faster", lambda _: False)
    try:
        assert hash_blocks([data_of(64)], SHA256) is None
    finally:
        multi_buffer._idle.cache_clear()
