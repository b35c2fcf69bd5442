"""Times as they cross the bus: microseconds since 1970, as systemd's interfaces have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(when: datetime) -> int:
    """Return a time as microseconds since 1970; 0 for one before."""
    return max(0, (when - _EPOCH) // timedelta(microseconds=1))
