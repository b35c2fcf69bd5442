"""When to try again, and how long to wait before.

The waits double from `backoff_seconds`, with full jitter so that a fleet does not return in step; a
server's Retry-After is a lower bound, up to `retry_after_limit_seconds`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from bootd.clock import Clock
from bootd.model.errors import BootdError, ConnectionFailedError, TimedOutError
from bootd.registry.http_errors import never_connected
from bootd.registry.settings import RegistrySettings

_log = logging.getLogger(__name__)
_RANDOM: Final = random.SystemRandom()
_PROGRESS: Final = 1 << 20
_MAX_FAILURES: Final = 100
_T = TypeVar("_T")


class TemporaryFailure(Exception):  # noqa: N818 - it is not an error yet, and never leaves this folder
    """A server asked to come again later.

    Attributes:
        error: what to raise when there is no more trying.
        delay: seconds the server asked for, or None.
    """

    def __init__(self, error: BootdError, delay: float | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.delay = delay


RETRIABLE: Final = (TemporaryFailure, ConnectionFailedError, TimedOutError)


class Backoff:
    """Counts the failures of one task and waits after each."""

    def __init__(self, settings: RegistrySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._in_a_row = 0
        self._failures = 0
        self._progress = 0
        self._deadline = clock.monotonic() + settings.total_seconds

    def progressed(self, count: int) -> None:
        """Note bytes that arrived; enough of them make up for earlier failures."""
        self._progress += count
        if self._progress >= _PROGRESS:
            self._in_a_row = 0

    def failed(self, failure: TemporaryFailure | BootdError) -> None:
        """Wait before the next attempt.

        Raises:
            BootdError: the failure's own, if no further attempt is due.
        """
        error, delay = failure, None
        if isinstance(failure, TemporaryFailure):
            error, delay = failure.error, failure.delay
        self._in_a_row += 1
        self._failures += 1
        self._progress = 0
        settings = self._settings
        too_long = delay is not None and delay > settings.retry_after_limit_seconds
        # Somebody else is left who can be asked.
        elsewhere = settings.is_hasty and (
            never_connected(error) or isinstance(error, TimedOutError)
        )
        is_over = self._clock.monotonic() >= self._deadline
        too_many = self._in_a_row >= settings.attempts or self._failures >= _MAX_FAILURES
        if too_many or too_long or elsewhere or is_over:
            raise error from failure.__cause__
        longest = settings.backoff_seconds * 2.0**self._in_a_row
        wait = _RANDOM.uniform(0.0, min(longest, settings.backoff_limit_seconds))
        if delay is not None:
            wait = max(wait, delay)
        _log.debug("failure %d: %s; next attempt in %.1f s", self._in_a_row, error, wait)
        self._clock.sleep(wait)


def with_retries(settings: RegistrySettings, clock: Clock, act: Callable[[], _T]) -> _T:
    """Do something until it succeeds or the failures are too many.

    Raises:
        BootdError: what `act` raised last.
    """
    backoff = Backoff(settings, clock)
    while True:
        try:
            return act()
        except RETRIABLE as failure:
            backoff.failed(failure)


def parse_retry_after(value: str | None, clock: Clock) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110 section 10.2.3), or None."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        when = parsedate_to_datetime(text)
        return max(0.0, (when - clock.now()).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None
