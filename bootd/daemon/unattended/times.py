"""Times as they cross the bus: microseconds since 1970, as systemd's interfaces have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from bootd.model.errors import InvalidArgumentError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def from_microseconds(count: int) -> datetime:
    """Return the time, UTC, to the second.

    Raises:
        InvalidArgumentError: no calendar goes that far.
    """
    try:
        return (_EPOCH + timedelta(microseconds=count)).replace(microsecond=0)
    except OverflowError as error:
        raise InvalidArgumentError(f"{count} microseconds after 1970 is no time") from error


def microseconds(when: datetime) -> int:
    """Return a time as microseconds since 1970; 0 for one before."""
    return max(0, (when - _EPOCH) // timedelta(microseconds=1))
