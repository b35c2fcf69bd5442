"""How long to wait after a run that failed: by its cause, doubling, up to less than a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from bootd.model.errors import (
    TRY_AGAIN,
    BusyError,
    CancelledError,
    ConnectionFailedError,
    ContentError,
    HostUnknownError,
    NotARegistryError,
    PolicyError,
    RequestError,
    StorageError,
    TimedOutError,
    TlsFailedError,
    TransportError,
    registered_errors,
)

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_MOST_DOUBLINGS: Final = 20
NETWORK: Final = (
    HostUnknownError,
    ConnectionFailedError,
    TimedOutError,
    # A clock that is not set yet, or a portal that wants a login.
    TlsFailedError,
    NotARegistryError,
)
"""What may be over as soon as the machine has a network, or the right time."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait after the first failure, at most, and after however many."""

    first: timedelta
    longest: timedelta

    def after(self, in_a_row: int) -> timedelta:
        """Return the longest wait after so many failures in a row."""
        doublings = min(max(in_a_row, 1) - 1, _MOST_DOUBLINGS)
        return min(self.first * (1 << doublings), self.longest)


_BACKOFFS: Final = (
    (NETWORK, Backoff(timedelta(seconds=40), _HOUR)),
    ((BusyError,), Backoff(5 * _MINUTE, _HOUR)),
    # Somebody wanted it to end, or it took too long.
    ((CancelledError,), Backoff(2 * _HOUR, 6 * _HOUR)),
    ((StorageError,), Backoff(30 * _MINUTE, 6 * _HOUR)),
    # What was published or set up has to be mended first, and is asked for again to see that.
    ((ContentError, PolicyError, RequestError), Backoff(2 * _HOUR, 12 * _HOUR)),
)
_SERVER: Final = Backoff(timedelta(seconds=40), 2 * _HOUR)
_REFUSAL: Final = Backoff(15 * _MINUTE, 6 * _HOUR)
_OTHER: Final = Backoff(10 * _MINUTE, 6 * _HOUR)


def backoff(code: str) -> Backoff:
    """Return how to wait after an error of this code."""
    error = registered_errors().get(code)
    if error is None:
        return _OTHER
    for kinds, causes in _BACKOFFS:
        if issubclass(error, kinds):
            return causes
    if issubclass(error, TransportError):
        return _SERVER if error.exit_status == TRY_AGAIN else _REFUSAL
    return _OTHER


def is_of_network(code: str) -> bool:
    """Return whether a network that comes, or a clock that is set, may mend what failed."""
    error = registered_errors().get(code)
    return error is not None and issubclass(error, NETWORK)
