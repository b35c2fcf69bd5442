"""Going on with a blob where it broke: by a Range request where that is served.

To ask for the rest alone only saves time, so that no refusal of it is the last word: the whole blob
is asked for once before its place is given up.
"""

from __future__ import annotations

import logging
from typing import Final

from bootd.clock import Clock
from bootd.model.errors import (
    ConnectionFailedError,
    NotARegistryError,
    ServerFailedError,
    TimedOutError,
    TransportError,
)
from bootd.registry.settings import RegistrySettings
from bootd.registry.wire.retry import Backoff, TemporaryFailure

_log = logging.getLogger(__name__)

_MAX_REFUSALS: Final = 2
_MAY_BE_THE_RANGE: Final = (
    ServerFailedError,
    NotARegistryError,
    ConnectionFailedError,
    TimedOutError,
)
"""What a server makes of a Range request that it does not like. It is not among them that the
registry knows neither blob nor credentials, or wants to be asked later."""


class Resuming:
    """The failures of one blob at one place, and what to ask for after each.

    Attributes:
        by_range: whether the rest alone is to be asked for.
    """

    def __init__(self, settings: RegistrySettings, clock: Clock) -> None:
        self._backoff = Backoff(settings, clock)
        self._refusals = 0
        self._is_last = False
        self.by_range = True

    def progressed(self, count: int) -> None:
        """Note bytes of the blob that were not there before."""
        self._is_last = False
        self._backoff.progressed(count)

    def failed(self, failure: TemporaryFailure | TransportError, *, was_range: bool) -> None:
        """Wait before the next attempt.

        Args:
            failure: of the last one.
            was_range: whether the rest alone was asked for, and none of it came.

        Raises:
            TransportError: no further attempt is due.
        """
        error = failure.error if isinstance(failure, TemporaryFailure) else failure
        if self._is_last:
            raise error
        self.by_range = self._refusals < _MAX_REFUSALS
        may_be_the_range = was_range and isinstance(error, _MAY_BE_THE_RANGE)
        if isinstance(failure, TemporaryFailure) and failure.is_unreachable:
            may_be_the_range = False
        was_refused = not isinstance(failure, TemporaryFailure) or failure.tries is not None
        if may_be_the_range and was_refused:
            # That is no failure of the line, so it counts for itself.
            _log.info("the whole blob is asked for: %s", error)
            self._refusals += 1
            self.by_range = False
            return
        if not isinstance(failure, TemporaryFailure):
            raise error
        try:
            self._backoff.failed(failure)
        except TransportError:
            if not may_be_the_range or failure.delay is not None or self._backoff.is_over:
                raise
            _log.info("the whole blob is asked for once: %s", error)
            self._backoff.begin_anew()
            self.by_range, self._is_last = False, True
