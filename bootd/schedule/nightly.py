"""The calendar of most machines: once on each day of the local calendar, at the same hour."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final, Self

_DAY: Final = timedelta(days=1)
_DAILY: Final = re.compile(r"\*-\*-\* ([0-9]{2}):([0-9]{2}):([0-9]{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Nightly:
    """A time of the day.

    Attributes:
        at: when, on the clock on the wall.
        zone: whose clock; None: that of the system.
    """

    at: time
    zone: tzinfo | None = None

    @classmethod
    def parse(cls, expression: str) -> Self | None:
        """Return what systemd writes as ``*-*-* 02:00:00`` (systemd.time(7)); None: it is more."""
        match = _DAILY.fullmatch(expression)
        if match is None:
            return None
        hour, minute, second = map(int, match.groups())
        try:
            return cls(time(hour, minute, second))
        except ValueError:
            return None

    def next(self, after: datetime) -> datetime:
        """Return the first moment after another, in UTC.

        Of an hour that a change of the clock repeats the first counts, and one that it leaves out
        is the same distance from the midnight before it (PEP 495).
        """
        day = after.astimezone(self.zone).date() - _DAY
        while True:
            moment = datetime.combine(day, self.at, self.zone).astimezone(UTC)
            if moment > after:
                return moment
            day += _DAY
