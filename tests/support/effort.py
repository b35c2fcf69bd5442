"""How much a property is tried: a sample in ``make test``, far more in ``make test-full``."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

FULL: Final = os.environ.get("BOOTD_TEST_FULL") == "1"
_TIMES: Final = 40


def examples(number: int) -> settings:
    """Return settings that try a property `number` times, or forty times as often."""
    return settings(max_examples=number * (_TIMES if FULL else 1), deadline=None)
