"""How much a property is tried: a sample in ``make test``, far more in ``make test-full``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

import pytest
from hypothesis import HealthCheck, settings

FULL: Final = os.environ.get("BOOTD_TEST_FULL") == "1"
_TIMES: Final = 40
_Test = TypeVar("_Test", bound=Callable[..., Any])


def examples(number: int) -> settings:
    """Return settings that try a property `number` times, or forty times as often."""
    return settings(max_examples=number * (_TIMES if FULL else 1), deadline=None)


def heavy(number: int, *, full: int) -> Callable[[_Test], _Test]:
    """Return what marks a property as one that takes long.

    Args:
        number: how many examples ``make unit`` tries; so few that they take a second or two.
        full: how many ``make test-full`` tries.
    """
    chosen = settings(
        max_examples=full if FULL else number,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    def mark(test: _Test) -> _Test:
        marked: _Test = pytest.mark.heavy(chosen(test))
        return marked

    return mark
