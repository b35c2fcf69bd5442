"""Challenges, Retry-After, back-off and verified streams: the small rules of the registry room."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootd.clock import Clock
from bootd.model.digest import Digest
from bootd.model.errors import (
    ConnectionFailedError,
    DigestMismatchError,
    RateLimitedError,
    SizeMismatchError,
)
from bootd.model.registry.image import Descriptor
from bootd.registry.blobs.blob import skip, verified
from bootd.registry.login.challenge import parse_challenges
from bootd.registry.settings import RegistrySettings
from bootd.registry.wire.retry import (
    Backoff,
    TemporaryFailure,
    may_pass,
    parse_retry_after,
    with_retries,
)


@dataclass(frozen=True, slots=True)
class StoppedClock(Clock):
    waits: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


NO_ANSWER = TemporaryFailure(ConnectionFailedError("no"))
SETTINGS = RegistrySettings(attempts=5, backoff_seconds=1.0, backoff_limit_seconds=6.0)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t",service="r",scope="repository:a/b:pull,push"',
            [
                (
                    "bearer",
                    {"realm": "https://a/t", "service": "r", "scope": "repository:a/b:pull,push"},
                )
            ],
        ),
        (
            'Basic realm="a, b", Bearer Realm = "c" , service=d',
            [("basic", {"realm": "a, b"}), ("bearer", {"realm": "c", "service": "d"})],
        ),
        (r'Basic realm="a\"b\\"', [("basic", {"realm": 'a"b\\'})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Bearer realm="unclosed', [("bearer", {})]),
        ('="x"', []),
        ("Negotiate abc==", [("negotiate", {})]),
    ],
)
def test_challenges(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(one.scheme, one.parameters) for one in parse_challenges(header)] == expected


@given(st.text(max_size=100) | st.text(alphabet='Bearr="\\, \t', max_size=100))
def test_any_header_can_be_read(header: str) -> None:
    parse_challenges(header)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9" * 500, 999_999_999_999.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 00:00:30", None),
        ("Thu, 99 Jan 9999999 00:00:30 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, StoppedClock()) == seconds


def test_waits_double_up_to_a_bound() -> None:
    clock = StoppedClock()

    def fail() -> None:
        raise NO_ANSWER

    with pytest.raises(ConnectionFailedError):
        with_retries(SETTINGS, clock, fail)
    assert len(clock.waits) == 4
    for wait, longest in zip(clock.waits, (2.0, 4.0, 6.0, 6.0), strict=True):
        assert 0.0 <= wait <= longest


def test_progress_makes_up_for_failures() -> None:
    backoff = Backoff(SETTINGS, StoppedClock())
    for _ in range(50):
        backoff.progressed(1 << 20)
        backoff.failed(NO_ANSWER)
    for _ in range(3):
        backoff.progressed(10)
        backoff.failed(NO_ANSWER)
    with pytest.raises(ConnectionFailedError):
        backoff.failed(NO_ANSWER)


def test_failures_have_a_bound_in_spite_of_progress() -> None:
    backoff = Backoff(SETTINGS, StoppedClock())

    def flap() -> None:
        for _ in range(1_000):
            backoff.progressed(1 << 20)
            backoff.failed(NO_ANSWER)

    with pytest.raises(ConnectionFailedError):
        flap()


def test_a_servers_wish_comes_before_the_jitter() -> None:
    clock = StoppedClock()
    backoff = Backoff(SETTINGS, clock)
    backoff.failed(TemporaryFailure(RateLimitedError("slow down"), 100.0))
    [wait] = clock.waits
    assert 100.0 <= wait <= 102.0
    with pytest.raises(RateLimitedError, match=r"slow down; .* at 2026-01-01 00:16 UTC, in 1000 s"):
        backoff.failed(TemporaryFailure(RateLimitedError("slow down"), 1_000.0))


def test_a_wish_that_no_calendar_has_is_told_all_the_same() -> None:
    backoff = Backoff(SETTINGS, StoppedClock())
    with pytest.raises(RateLimitedError, match="at 2027-"):
        backoff.failed(TemporaryFailure(RateLimitedError("never"), 999_999_999_999.0))


def test_what_a_second_look_may_mend_gets_no_more_than_that() -> None:
    clock = StoppedClock()
    backoff = Backoff(SETTINGS, clock)
    rare = TemporaryFailure(RateLimitedError("no"), tries=2)
    for failure in (NO_ANSWER, rare, NO_ANSWER):
        backoff.failed(failure)
    with pytest.raises(RateLimitedError):
        backoff.failed(rare)
    assert len(clock.waits) == 3


def test_what_is_final_is_not_tried_again() -> None:
    def fail() -> None:
        raise RateLimitedError("for good")

    clock = StoppedClock()
    with pytest.raises(RateLimitedError):
        with_retries(SETTINGS, clock, fail)
    assert clock.waits == []


def test_statuses_that_may_pass() -> None:
    passing = {408, 425, 429, *range(500, 600)} - {501, 505, 511}
    assert {status for status in range(100, 1_000) if may_pass(status)} == passing


DATA = b"0123456789" * 10
BLOB = Descriptor(media_type="x", digest=Digest.of(DATA), size=len(DATA), annotations={})


def pieces(*parts: bytes) -> Generator[bytes, None, None]:
    yield from parts


@pytest.mark.parametrize("size", [1, 7, 100])
def test_verified_stream(size: int) -> None:
    parts = [DATA[place : place + size] for place in range(0, len(DATA), size)]
    assert list(verified(BLOB, pieces(*parts))) == parts


@pytest.mark.parametrize(
    ("parts", "passed", "error"),
    [
        ((DATA[:50],), 50, SizeMismatchError),
        ((), 0, SizeMismatchError),
        ((DATA, b"x"), 100, SizeMismatchError),
        ((DATA + b"x",), 0, SizeMismatchError),
        ((DATA[:99], b"x"), 100, DigestMismatchError),
    ],
)
def test_wrong_streams(parts: tuple[bytes, ...], passed: int, error: type[Exception]) -> None:
    taken: list[bytes] = []
    with pytest.raises(error):
        taken.extend(verified(BLOB, pieces(*parts)))
    assert sum(map(len, taken)) == passed


@given(st.lists(st.binary(max_size=5)), st.integers(0, 30))
def test_skip(parts: list[bytes], count: int) -> None:
    found = list(skip(parts, count))
    assert b"".join(found) == b"".join(parts)[count:]
    assert b"" not in found
