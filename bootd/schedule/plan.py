"""When the next automatic run is due, from what is remembered of the last one.

Invariants: a plan follows from its view alone, so a daemon that was killed makes the same one
again; no two machines with secrets of their own are in step; a failure is followed by another try
before the next night; a run that was missed while the machine was off or asleep, or because its
clock was wrong, is made up for within `CATCH_UP` of the moment when that ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from bootd.schedule.retry import backoff, is_of_network
from bootd.schedule.share import share

SETTLE: Final = timedelta(minutes=1)
"""A machine that starts has other things to do first."""
CATCH_UP: Final = timedelta(minutes=15)
"""Over how long machines spread that all make up for a run from the same moment on."""
AWAITED: Final = timedelta(minutes=1)
"""Within how long after its network has come a machine tries again."""
LONGEST_ORDERED_WAIT: Final = timedelta(days=1)
"""Beyond that a server's Retry-After is not heeded."""
_AFTER_ORDERED_WAIT: Final = timedelta(minutes=5)
_OPENING: Final = timedelta(minutes=15)
_CLOCK_SLACK: Final = timedelta(minutes=5)
_BETWEEN_EVENTS: Final = timedelta(minutes=1)
_MOST_BETWEEN_EVENTS: Final = 15
_SECOND: Final = timedelta(seconds=1)


def _always(moment: datetime) -> datetime:
    return moment


class Why(StrEnum):
    """What a run is planned for."""

    REGULAR = "regular"
    """It is this machine's turn in the night, or whatever its calendar says."""
    MISSED = "missed"
    """The machine was off or asleep, or never looked."""
    RETRY = "retry"
    """The last run failed."""
    AWAITED = "awaited"
    """What the last run failed for may be over: a network has come, or the clock was set."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest automatic run."""

    when: datetime
    """When it ended."""
    failed_with: str = ""
    """The code of its error; empty: it did not fail."""
    in_a_row: int = 0
    """How many failed since the last that did not."""
    not_before: datetime | None = None
    """When a server wants to be asked again, at the earliest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a plan follows from."""

    now: datetime
    since: datetime
    """From when on the machine was up and awake, with the clock that it has now."""
    last: LastRun | None
    """None: there was none, as far as anybody knows."""
    secret: bytes
    """This machine's own."""
    calendar: Callable[[datetime], datetime | None] | None
    """Returns the first regular moment after another; None: only failures are followed up."""
    spread: timedelta
    """Over how long after such a moment machines spread."""
    stale: timedelta | None = None
    """How old the last run is to be for a machine that starts, or wakes, to make one although the
    calendar has none yet; None: only the calendar counts."""
    hope: datetime | None = None
    """When a network came, or the clock was set."""
    opens: Callable[[datetime], datetime] = field(default=_always)
    """Returns the first moment, from a given one on, at which a run may begin."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The next run."""

    when: datetime
    """Whole seconds; in the past: now."""
    why: Why


def plan(view: View) -> Plan | None:
    """Return when the next run is due; None: nothing is planned."""
    last = view.last
    if last is not None and last.when > view.now + _CLOCK_SLACK:
        # The clock was wrong, then or now; a run that is not due yet for years would be none.
        last = None
    due = _due(view, last)
    if due is None:
        return None
    when, why = due.when, due.why
    if when < view.since:
        drawn = share(view.secret, why, view.since.isoformat())
        when = view.since + SETTLE + drawn * (CATCH_UP - SETTLE)
        why = Why.MISSED if why is Why.REGULAR else why
    if last is not None:
        if (hoped := _hoped(view, last)) is not None and hoped < when:
            when, why = hoped, Why.AWAITED
        when = max(when, _ordered(view, last))
    return Plan(_whole(_opened(view, when)), why)


def _due(view: View, last: LastRun | None) -> Plan | None:
    regular = _regular(view, last)
    if last is None or not last.failed_with:
        return regular
    # At least half of the wait, so that it is one, and not the same on all machines.
    drawn = share(view.secret, Why.RETRY, last.when.isoformat())
    wait = backoff(last.failed_with).after(last.in_a_row) * (1 + drawn) / 2
    retry = Plan(last.when + wait, Why.RETRY)
    return retry if regular is None or retry.when < regular.when else regular


def _regular(view: View, last: LastRun | None) -> Plan | None:
    if view.calendar is None:
        return None
    if last is None:
        # However long ago: it is overdue.
        return Plan(view.since - _SECOND, Why.MISSED)
    moment = view.calendar(last.when)
    if moment is None:
        return None
    came_up = last.when < view.since
    is_stale = view.stale is not None and view.since - last.when >= view.stale
    if came_up and (moment <= view.since or is_stale):
        # Nobody knows whether it is still up when its own share of the night comes.
        return Plan(view.since - _SECOND, Why.MISSED)
    return Plan(moment + share(view.secret, Why.REGULAR) * view.spread, Why.REGULAR)


def _hoped(view: View, last: LastRun) -> datetime | None:
    """Return when to try because a network came; one that comes and goes does not make a storm."""
    if view.hope is None or view.hope <= last.when or not is_of_network(last.failed_with):
        return None
    soon = view.hope + share(view.secret, Why.AWAITED, view.hope.isoformat()) * AWAITED
    return max(soon, last.when + _BETWEEN_EVENTS * min(last.in_a_row, _MOST_BETWEEN_EVENTS))


def _ordered(view: View, last: LastRun) -> datetime:
    if last.not_before is None or not last.failed_with:
        return last.when
    until = min(last.not_before, last.when + LONGEST_ORDERED_WAIT)
    return until + share(view.secret, "ordered", until.isoformat()) * _AFTER_ORDERED_WAIT


def _opened(view: View, when: datetime) -> datetime:
    opening = view.opens(when)
    if opening == when:
        return when
    # Not all that waited for it at its first second.
    later = opening + share(view.secret, "opening", opening.isoformat()) * _OPENING
    return later if view.opens(later) == later else opening


def _whole(when: datetime) -> datetime:
    return when if not when.microsecond else when.replace(microsecond=0) + _SECOND
