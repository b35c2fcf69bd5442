"""Connecting to a host with several addresses, of which some are dead."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from bootd.registry.wire.connecting import Address, connect, interleaved

V4, V6 = socket.AF_INET, socket.AF_INET6
Place = tuple[str, int]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *places: Place) -> None:
    def resolve(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        families = [V6 if ":" in place[0] else V4 for place in places]
        return [
            (family, socket.SOCK_STREAM, 6, "", place)
            for family, place in zip(families, places, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def listener(stack: ExitStack, backlog: int = 8, address: str = "127.0.0.1") -> socket.socket:
    made = stack.enter_context(socket.socket())
    made.bind((address, 0))
    made.listen(backlog)
    return made


def silent(stack: ExitStack) -> Place:
    """An address that answers nothing: its queue of connections is full."""
    full = listener(stack, 0)
    for _ in range(4):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        with suppress(BlockingIOError):
            waiting.connect(full.getsockname())
    place: Place = full.getsockname()
    return place


def closed() -> Place:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        place: Place = made.getsockname()
        return place


def test_families_take_turns() -> None:
    six = [Address(V6, (f"::{number}", 443, 0, 0)) for number in range(3)]
    four = [Address(V4, (f"192.0.2.{number}", 443)) for number in range(2)]
    assert interleaved([*six, *four]) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleaved([*four, *six[:1]]) == [four[0], six[0], four[1]]
    assert interleaved([four[0], four[0]]) == [four[0]]


def test_silent_addresses_do_not_keep_the_good_one_waiting(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = listener(stack)
    # One after the other they would take more than the bound for all of them.
    resolve_to(monkeypatch, silent(stack), silent(stack), silent(stack), good.getsockname())
    with connect("os.example", 443, 10.0) as made:
        assert made.getpeername() == good.getsockname()
        assert made.gettimeout() == 10.0


def test_an_address_that_refuses_is_passed_over(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = listener(stack)
    resolve_to(monkeypatch, closed(), ("::ffff:0:0", 1), good.getsockname())
    with connect("os.example", 443, 10.0) as made:
        assert made.getpeername() == good.getsockname()


def test_first_good_address_is_taken(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = listener(stack), listener(stack)
    resolve_to(monkeypatch, first.getsockname(), second.getsockname())
    with connect("os.example", 443, 10.0) as made:
        assert made.getpeername() == first.getsockname()
    second.setblocking(False)
    with pytest.raises(BlockingIOError):
        second.accept()


def test_bound_is_for_all_addresses_together(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, *(silent(stack) for _ in range(3)))
    with pytest.raises(TimeoutError):
        connect("os.example", 443, 0.6)


def test_most_telling_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, closed(), ("::ffff:255.255.255.255", 1))
    with pytest.raises(OSError, match=r".") as caught:
        connect("os.example", 443, 10.0)
    assert caught.value.errno in {errno.ECONNREFUSED, errno.EACCES}


def test_no_descriptor_stays_open(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []

    class Counted(socket.socket):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            opened.append(self)

    places = [silent(stack), silent(stack), closed(), listener(stack).getsockname()]
    resolve_to(monkeypatch, *places)
    monkeypatch.setattr(socket, "socket", Counted)
    with connect("os.example", 443, 10.0) as made:
        assert [one for one in opened if one.fileno() >= 0] == [made]
    assert len(opened) == len(places)


def test_the_address_that_answered_last_is_tried_first(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = listener(stack), listener(stack, address="127.0.0.2")
    resolve_to(monkeypatch, first.getsockname(), second.getsockname())
    for answered, good in (("127.0.0.2", second), ("127.0.0.3", first), ("", first)):
        with connect("os.example", 443, 10.0, answered=answered) as made:
            assert made.getpeername() == good.getsockname()
