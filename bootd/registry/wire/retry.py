"""When to try again, and how long to wait before: one policy for everything that is asked for.

What may pass is told by its cause: whoever sees one that may raises `TemporaryFailure`, and all
else is final. The waits double from `backoff_seconds`, with full jitter so that a fleet does not
return in step; a server's Retry-After comes before that, up to `retry_after_limit_seconds`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from bootd.clock import Clock
from bootd.model.errors import BootdError, TimedOutError
from bootd.registry.settings import RegistrySettings

_log = logging.getLogger(__name__)
_RANDOM: Final = random.SystemRandom()
_PROGRESS: Final = 1 << 20
_MAX_FAILURES: Final = 100
_LONGEST_TOLD: Final = 366 * 86_400.0
_SERVER_ERRORS: Final = range(500, 600)
_PASSING: Final = frozenset({408, 425, 429})
_LASTING: Final = frozenset({501, 505, 511})
"""Not implemented, HTTP version not supported, network authentication required (RFC 6585)."""
FEW_TRIES: Final = 3
"""For what may pass and mostly does not: a name that nobody knows, a web page for an answer."""
TWO_TRIES: Final = 2
"""For what a fresh answer may mend: an expired signature in a redirect, a token just made."""
_T = TypeVar("_T")


class TemporaryFailure(Exception):  # noqa: N818 - it is not an error yet, and never leaves this folder
    """Something went wrong that may pass.

    Attributes:
        error: what to raise when there is no more trying.
        delay: seconds the server asked for, or None.
        tries: how often a task may meet such a cause, where that is less often than others.
        is_unreachable: whether no connection came about.
    """

    def __init__(
        self, error: BootdError, delay: float | None = None, tries: int | None = None
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.delay = delay
        self.tries = tries
        self.is_unreachable = False


def may_pass(status: int) -> bool:
    """Return whether an answer with this status may be another one soon.

    Proxies and content networks have numbers of their own above 500.
    """
    return status in _PASSING or (status in _SERVER_ERRORS and status not in _LASTING)


class Backoff:
    """Counts the failures of one task and waits after each."""

    def __init__(self, settings: RegistrySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._in_a_row = 0
        self._failures = 0
        self._of_few_tries = 0
        self._progress = 0
        self._deadline = clock.monotonic() + settings.total_seconds

    def progressed(self, count: int) -> None:
        """Note bytes that arrived; enough of them make up for earlier failures."""
        self._progress += count
        if self._progress >= _PROGRESS:
            self.begin_anew()

    @property
    def is_over(self) -> bool:
        """Whether the time for the whole task has passed."""
        return self._clock.monotonic() >= self._deadline

    def begin_anew(self) -> None:
        """Forget how many failures there were in a row: another way is tried now."""
        self._in_a_row = self._of_few_tries = 0

    def failed(self, failure: TemporaryFailure) -> None:
        """Wait before the next attempt.

        Raises:
            BootdError: the failure's own, if no further attempt is due.
        """
        error, delay = failure.error, failure.delay
        if delay is not None:
            ordered = timedelta(seconds=min(delay, _LONGEST_TOLD))
            error.not_before = self._clock.now().astimezone(UTC) + ordered
        self._in_a_row += 1
        self._failures += 1
        self._progress = 0
        if failure.tries is not None:
            self._of_few_tries += 1
            if self._of_few_tries >= failure.tries:
                raise error from failure.__cause__
        settings = self._settings
        if delay is not None and delay > settings.retry_after_limit_seconds:
            raise self._until_later(error, delay) from failure.__cause__
        # Somebody else is left who can be asked.
        elsewhere = settings.is_hasty and (
            failure.is_unreachable or isinstance(error, TimedOutError)
        )
        too_many = self._in_a_row >= settings.attempts or self._failures >= _MAX_FAILURES
        if too_many or elsewhere or self.is_over:
            raise error from failure.__cause__
        longest = settings.backoff_seconds * 2.0**self._in_a_row
        wait = _RANDOM.uniform(0.0, min(longest, settings.backoff_limit_seconds))
        if delay is not None:
            wait += delay
        _log.info("failure %d: %s; next attempt in %.1f s", self._in_a_row, error, wait)
        self._clock.sleep(wait)

    def _until_later(self, error: BootdError, delay: float) -> BootdError:
        when = self._clock.now().astimezone(UTC) + timedelta(seconds=min(delay, _LONGEST_TOLD))
        told = f"it may be asked again at {when:%Y-%m-%d %H:%M} UTC, in {delay:.0f} s"
        later = type(error)(f"{error.message}; {told}", hint=error.hint)
        later.not_before = error.not_before
        return later


def with_retries(settings: RegistrySettings, clock: Clock, act: Callable[[], _T]) -> _T:
    """Do something until it succeeds, fails for good, or the failures are too many.

    Raises:
        BootdError: what `act` raised last.
    """
    backoff = Backoff(settings, clock)
    while True:
        try:
            return act()
        except TemporaryFailure as failure:
            backoff.failed(failure)


def once(act: Callable[[], _T]) -> _T:
    """Do something that has a substitute, which has the patience.

    Raises:
        BootdError: what went wrong, be it for a moment.
    """
    try:
        return act()
    except TemporaryFailure as failure:
        raise failure.error from failure


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
