"""Which of two images is the older release."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bootd.trust.age import Release, why_older

NOW = datetime(2026, 11, 30, tzinfo=UTC)
JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
FUTURE = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("candidate", "known", "older"),
    [
        (Release(JANUARY, ""), Release(MARCH, ""), True),
        (Release(MARCH, ""), Release(JANUARY, ""), False),
        (Release(JANUARY, "v1"), Release(JANUARY, "v2"), True),
        (Release(None, "41.20260101.0"), Release(MARCH, "41.20260301.0"), True),
        (Release(JANUARY, "v10"), Release(JANUARY, "v9"), False),
        # Builds that can be repeated have the time of their source, which a branch may set back.
        (Release(JANUARY, "v3"), Release(MARCH, "v2"), False),
        # A publisher went back to an older version, and built it anew.
        (Release(MARCH, "v1"), Release(JANUARY, "v2"), False),
        (Release(JANUARY, "stable"), Release(JANUARY, "v2"), False),
        (Release(None, ""), Release(MARCH, "v2"), False),
        (Release(JANUARY, "1.2"), Release(JANUARY, "1.1.9"), False),
        # One image from the future must not stop all that come after it.
        (Release(JANUARY, ""), Release(FUTURE, ""), False),
        (Release(FUTURE, "v1"), Release(JANUARY, "v2"), True),
        (Release(JANUARY.replace(tzinfo=None), ""), Release(MARCH, ""), False),
        (Release(JANUARY, "1" * 300), Release(JANUARY, "2" * 300), False),
    ],
)
def test_a_release_is_older(candidate: Release, known: Release, *, older: bool) -> None:
    assert (why_older(candidate, known, NOW) is not None) is older


def test_the_reason_names_what_was_compared() -> None:
    assert why_older(Release(JANUARY, ""), Release(MARCH, ""), NOW) == (
        "it was built on 2026-01-01 00:00, and the one here on 2026-03-01 00:00"
    )
    assert why_older(Release(None, "v1"), Release(None, "v2"), NOW) == (
        "its version is v1, and here is v2"
    )
