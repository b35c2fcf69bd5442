"""Maintenance windows: weekly times, each with a length, in a time zone.

A window is written ``[DAYS] HH:MM LENGTH [ZONE]``: ``Fri,Sat 22:00 6h Europe/Berlin``. The length
is time that passes, so that a change to or from summer time neither cuts a window off nor doubles
it. A start that such a change leaves out is as much later as the clock is put forward, and of one
that comes twice the first counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONGEST: Final = timedelta(days=7)
_WINDOW: Final = re.compile(
    r"(?:(?P<days>[A-Za-z,.]+) )?(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d) "
    r"(?P<length>[1-9]\d{0,4})(?P<unit>h|min)(?: (?P<zone>[A-Za-z][A-Za-z0-9_+/-]{0,99}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Window:
    """A time of the week.

    Attributes:
        days: on which it begins, Monday is 0.
        start: the time of the day.
        length: how long it lasts, up to a week.
        zone: where that time is; None: the machine's own zone.
    """

    days: frozenset[int]
    start: time
    length: timedelta
    zone: tzinfo | None = None

    def occurrences(self, now: datetime, zone: tzinfo) -> Iterator[tuple[datetime, datetime]]:
        """Yield begin and end, UTC, of each time that it is open around a time, the earliest first.

        Args:
            now: UTC; a week and a day before and after it are looked at.
            zone: the machine's own.
        """
        there = self.zone or zone
        today = now.astimezone(there).date()
        for ahead in range(-8, 9):
            day = today + timedelta(days=ahead)
            if day.weekday() in self.days:
                begin = datetime.combine(day, self.start, there).astimezone(UTC)
                yield begin, begin + self.length


def parse_window(text: str) -> Window:
    """Return the window that a text describes.

    Raises:
        ValueError: it describes none.
    """
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError("it is not written like 'Fri,Sat 22:00 6h' or 'Mon..Fri 02:00 90min UTC'")
    unit = timedelta(hours=1) if match["unit"] == "h" else timedelta(minutes=1)
    length = int(match["length"]) * unit
    if length > _LONGEST:
        raise ValueError("it is longer than a week")
    return Window(
        days=frozenset(range(7) if match["days"] is None else _days(match["days"])),
        start=time(int(match["hour"]), int(match["minute"])),
        length=length,
        zone=None if match["zone"] is None else _zone(match["zone"]),
    )


def open_until(windows: Sequence[Window], now: datetime, zone: tzinfo) -> datetime | None:
    """Return when the window that is open now closes, the last of them; None: none is open."""
    ends = [
        end
        for window in windows
        for begin, end in window.occurrences(now, zone)
        if begin <= now < end
    ]
    return max(ends, default=None)


def opens_at(windows: Sequence[Window], now: datetime, zone: tzinfo) -> datetime | None:
    """Return when the next window opens after a time; None: there are no windows."""
    begins = [
        begin for window in windows for begin, _ in window.occurrences(now, zone) if begin > now
    ]
    return min(begins, default=None)


def _days(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, dots, last = part.partition("..")
        begin, end = _day(first), _day(last if dots else first)
        # A range may go over the end of the week.
        yield from ((begin + ahead) % 7 for ahead in range((end - begin) % 7 + 1))


def _day(text: str) -> int:
    if text.title() not in DAYS:
        raise ValueError(f"{text!r} is no day; days are {', '.join(DAYS)}")
    return DAYS.index(text.title())


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"this machine knows no time zone {name!r}") from error
