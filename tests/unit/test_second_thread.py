"""A stream that is transformed in a second thread: whole, bounded, and gone when unwanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

import pytest

from bootd.store.second_thread import in_second_thread

HELD = 64
"""More chunks or pieces than may be held at a time."""


def doubled(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk + chunk


def joined(chunks: Iterable[bytes]) -> Iterator[bytes]:
    yield b"".join(chunks)


def split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for place in range(len(chunk)):
            yield chunk[place : place + 1]


@pytest.mark.parametrize("transform", [doubled, joined, split])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 500])
def test_what_comes_out_is_the_same_as_in_one_thread(
    count: int, transform: Callable[[Iterable[bytes]], Iterable[bytes]]
) -> None:
    chunks = [b"%d," % number for number in range(count)]
    assert list(in_second_thread(transform, chunks)) == list(transform(chunks))


def test_the_transformation_runs_in_another_thread_and_the_source_in_this_one() -> None:
    seen = []

    def chunks() -> Iterator[bytes]:
        seen.append(threading.current_thread())
        yield b"a"

    def transform(pieces: Iterable[bytes]) -> Iterator[bytes]:
        seen.append(threading.current_thread())
        yield from pieces

    assert list(in_second_thread(transform, chunks())) == [b"a"]
    assert threading.main_thread() in seen
    assert len(set(seen)) == 2


def test_an_error_of_the_transformation_comes_after_what_was_made() -> None:
    def transform(chunks: Iterable[bytes]) -> Iterator[bytes]:
        for number, chunk in enumerate(chunks):
            if number == 3:
                raise ValueError("the fourth")
            yield chunk

    source = iter([b"%d" % number for number in range(HELD)])
    pieces = in_second_thread(transform, source)
    assert [next(pieces) for _ in range(3)] == [b"0", b"1", b"2"]
    with pytest.raises(ValueError, match="fourth"):
        next(pieces)
    assert next(source, None) is not None


def test_an_error_of_the_source_ends_the_thread() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a"
        raise ConnectionError("cut")

    with pytest.raises(ConnectionError, match="cut"):
        list(in_second_thread(doubled, chunks()))


@pytest.mark.parametrize("transform", [doubled, split], ids=["as many", "more pieces"])
def test_who_stops_early_has_not_asked_for_much(
    transform: Callable[[Iterable[bytes]], Iterable[bytes]],
) -> None:
    asked = 0

    def chunks() -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"abcd"

    with closing(in_second_thread(transform, chunks())) as pieces:
        for _ in range(3):
            next(pieces)
    assert asked < HELD


def test_a_transformation_that_makes_much_of_little_is_held_back() -> None:
    made = 0

    def transform(chunks: Iterable[bytes]) -> Iterator[bytes]:
        nonlocal made
        for _ in chunks:
            while True:
                made += 1
                yield b"bomb"

    with closing(in_second_thread(transform, [b"little"])) as pieces:
        next(pieces)
    assert made < HELD
