"""When the timer of systemd wants an update to be looked for, as a calendar for a plan.

The unit that is shipped names a time for all machines, and each has its own share of the hours that
follow. Where an administrator gives the timer another time, its ``RandomizedDelaySec=`` says over
how long machines spread. systemd itself reads what is more than a time of the day.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from bootd import process
from bootd.model.errors import ProcessFailedError
from bootd.schedule.nightly import Nightly
from bootd.schedule.share import derived_secret

_log = logging.getLogger(__name__)

SHIPPED: Final = "*-*-* 02:00:00"
"""``OnCalendar=`` of ``bootd-upgrade.timer``."""
SHIPPED_SPREAD: Final = timedelta(hours=4)
_STALE: Final = timedelta(hours=2)
"""So that of machines that are on for an hour a day, at any time, hardly one ever goes for more
than two days without a run."""
_MOST_EXPRESSIONS: Final = 16
_MOST_SPREAD: Final = timedelta(days=1)
_PATIENCE: Final = 10.0
_IN_UTC: Final = re.compile(
    r"^ *(?:\(in UTC\)|Next elapse): \w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$", re.MULTILINE
)
_IDENTITIES: Final = (Path("/etc/machine-id"), Path("/sys/class/dmi/id/product_uuid"))
"""The second differs between copies of a disk."""
_MOST_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Timetable:
    """What the timer says.

    Attributes:
        expressions: of its calendar, see systemd.time(7).
        delay: its ``RandomizedDelaySec=``.
    """

    expressions: tuple[str, ...] = ()
    delay: timedelta = timedelta()

    @property
    def spread(self) -> timedelta:
        """Over how long after its times machines spread."""
        shipped = self.expressions == (SHIPPED,)
        return SHIPPED_SPREAD if shipped else min(self.delay, _MOST_SPREAD)

    @property
    def stale(self) -> timedelta | None:
        """After how long a machine that starts need not wait for the next of its times.

        Those that an administrator sets are meant.
        """
        return _STALE if self.expressions == (SHIPPED,) else None

    def next(self, after: datetime) -> datetime | None:
        """Return the first of its times after a moment; it may block for a while."""
        found = [_next(one, after) for one in self.expressions[:_MOST_EXPRESSIONS]]
        return min((moment for moment in found if moment is not None), default=None)


def _next(expression: str, after: datetime) -> datetime | None:
    nightly = Nightly.parse(expression)
    if nightly is not None:
        return nightly.next(after)
    base = f"--base-time=@{int(after.timestamp())}"
    try:
        done = process.run(("systemd-analyze", "calendar", base, expression), timeout=_PATIENCE)
    except ProcessFailedError as error:
        _log.warning("the timer's calendar cannot be read: %s", error.message)
        return None
    found = _IN_UTC.search(done.stdout.decode(errors="replace"))
    return None if found is None else datetime.fromisoformat(f"{found[1]}+00:00").astimezone(UTC)


def machine_secret() -> bytes:
    """Return what tells this machine's share from those of others."""
    found = []
    for path in _IDENTITIES:
        try:
            with path.open("rb") as stream:
                found.append(stream.read(_MOST_BYTES).strip())
        except OSError as error:
            _log.debug("%s", error)
    return derived_secret(*found)
