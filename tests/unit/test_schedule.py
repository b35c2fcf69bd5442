"""When the next automatic run is due: the rules, and what they make of many machines.

``BOOTD_TEST_FULL`` simulates as many as a large fleet has.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from bootd.daemon.unattended import timetable
from bootd.model.errors import registered_errors
from bootd.schedule.nightly import Nightly
from bootd.schedule.plan import (
    AWAITED,
    CATCH_UP,
    LONGEST_ORDERED_WAIT,
    SETTLE,
    LastRun,
    Plan,
    View,
    Why,
    plan,
)
from bootd.schedule.retry import backoff
from bootd.schedule.share import derived_secret, share

FULL = "BOOTD_TEST_FULL" in os.environ
BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = Nightly(time(2), BERLIN)
SPREAD = timedelta(hours=4)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=one) for one in (1, 60, 3_600, 86_400))
MORNING = datetime(2026, 11, 30, 7, tzinfo=UTC)
"""Eight o'clock in Berlin."""
SHIPPED = timetable.Timetable((timetable.SHIPPED,))
SECRET = derived_secret(b"one machine")


def view(**more: object) -> View:
    known = {
        "now": MORNING,
        "since": MORNING - 100 * DAY,
        "last": LastRun(MORNING - 3 * HOUR),
        "secret": SECRET,
        "calendar": NIGHTLY.next,
        "spread": SPREAD,
    }
    return View(**{**known, **more})  # type: ignore[arg-type]


def failed(code: str = "connection-failed", in_a_row: int = 1, **more: object) -> LastRun:
    return LastRun(MORNING, code, in_a_row, **more)  # type: ignore[arg-type]


def planned(**more: object) -> Plan:
    made = plan(view(**more))
    assert made is not None
    return made


# The rules.


def test_a_machine_has_its_own_time_of_the_night_and_keeps_it():
    made = planned()
    assert made.why is Why.REGULAR
    assert datetime(2026, 12, 1, 1, tzinfo=UTC) <= made.when <= datetime(2026, 12, 1, 5, tzinfo=UTC)
    assert planned(now=made.when, last=LastRun(made.when)).when - made.when == DAY
    assert planned(secret=derived_secret(b"another")).when != made.when


def test_a_secret_tells_nothing_of_what_it_comes_from_and_is_not_that_of_a_copy():
    machine = b"0123456789abcdef0123456789abcdef"
    assert machine not in derived_secret(machine)
    assert derived_secret(machine, b"uuid-1") != derived_secret(machine, b"uuid-2")
    assert share(SECRET, "a") != share(SECRET, "b")


def test_a_machine_that_never_looked_does_so_soon():
    made = planned(last=None, since=MORNING)
    assert made.why is Why.MISSED
    assert SETTLE <= made.when - MORNING <= CATCH_UP + SECOND


def test_a_missed_night_is_made_up_for_soon_after_the_start_and_at_another_moment_each_time():
    found = set()
    for minutes in range(20):
        since = MORNING + minutes * MINUTE
        made = planned(since=since, now=since, last=LastRun(MORNING - 30 * HOUR))
        assert made.why is Why.MISSED
        assert SETTLE <= made.when - since <= CATCH_UP + SECOND
        found.add(made.when - since)
    # A machine that is on for a few minutes at a time gets there, too.
    assert min(found) < CATCH_UP / 3
    assert len(found) > 15


@pytest.mark.parametrize("code", sorted(registered_errors()))
def test_whatever_failed_is_tried_again_before_the_next_night_is_over(code: str):
    waits = []
    for in_a_row in (*range(1, 30), 10_000):
        last = failed(code, in_a_row)
        waits.append(planned(last=last, calendar=None).when - MORNING)
        assert timedelta(seconds=20) <= waits[-1] <= 12 * HOUR + SECOND
    assert waits[-1] >= waits[0]


def test_the_first_retry_comes_within_a_minute_where_it_may_help():
    for code in ("host-unknown", "connection-failed", "timed-out", "server-failed", "rate-limited"):
        assert planned(last=failed(code)).when - MORNING <= MINUTE
    # Where somebody has to mend something first, not.
    for code in ("unauthorized", "image-not-found", "not-trusted", "no-space", "cancelled"):
        assert planned(last=failed(code)).when - MORNING >= 5 * MINUTE


def test_an_unknown_error_of_another_release_is_tried_again():
    assert backoff("of-next-year").first < HOUR


def test_a_server_that_says_when_is_asked_then_and_not_before():
    until = MORNING + 3 * HOUR
    last = failed("rate-limited", not_before=until)
    for more in ({}, {"hope": MORNING + MINUTE}, {"since": MORNING + HOUR}):
        made = planned(last=last, now=MORNING + HOUR, **more)
        assert until <= made.when <= until + 5 * MINUTE + SECOND
    # A whole night, if that is what it says, but not a year.
    last = failed("rate-limited", not_before=MORNING + 365 * DAY)
    made = planned(last=last)
    assert made.when <= MORNING + LONGEST_ORDERED_WAIT + 5 * MINUTE + SECOND
    # What it says counts for as long as it refuses.
    assert planned(last=replace(last, failed_with="")).why is Why.REGULAR


def test_a_network_that_comes_is_tried_soon():
    last = failed("host-unknown", 7)
    hope = MORNING + 8 * MINUTE
    made = planned(last=last, now=hope, hope=hope)
    assert made.why is Why.AWAITED
    assert made.when - hope <= AWAITED + SECOND
    assert planned(last=last, now=hope).when > made.when
    # It does not mend what a server says.
    assert planned(last=failed("unauthorized", 7), hope=hope).why is not Why.AWAITED
    # What came before the failure did not help.
    assert planned(last=last, hope=MORNING - MINUTE).why is Why.RETRY


def test_a_network_that_comes_and_goes_makes_no_storm():
    last, tries, moment = failed("host-unknown"), 0, MORNING
    while moment < MORNING + DAY:
        made = planned(last=last, now=moment, hope=moment)
        if made.when <= moment:
            tries += 1
            last = LastRun(moment, "host-unknown", last.in_a_row + 1)
        moment += timedelta(seconds=10)
    assert tries < 150


@pytest.mark.parametrize("last", [failed(), LastRun(MORNING)])
def test_a_clock_that_was_ahead_delays_nothing(last: LastRun):
    earlier = MORNING - 2_000 * DAY
    made = planned(last=last, now=earlier, since=earlier)
    assert made.when - earlier <= CATCH_UP + SECOND


def test_a_machine_without_a_clock_of_its_own_looks_once_it_has_the_time():
    """It starts in 1970 or when its clock was saved, and the right time comes minutes later."""
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    last = LastRun(MORNING - 20 * HOUR)
    made = planned(last=last, now=long_ago, since=long_ago)
    assert made.when - long_ago <= CATCH_UP + SECOND
    made = planned(last=replace(last, when=long_ago, failed_with="tls-failed"), since=MORNING)
    assert made.when - MORNING <= CATCH_UP + SECOND


def test_without_a_calendar_only_failures_are_followed_up():
    assert plan(view(calendar=None)) is None
    assert plan(view(calendar=None, last=None)) is None
    assert planned(calendar=None, last=failed()).why is Why.RETRY
    assert plan(view(calendar=lambda _: None)) is None


def test_a_plan_is_the_same_however_often_it_is_made_and_whole_seconds():
    for last in (LastRun(MORNING - HOUR), failed(), None):
        made = planned(last=last)
        assert made == planned(last=last, now=MORNING + 10 * SECOND)
        assert made.when.microsecond == 0


# The calendar.


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]
)
@pytest.mark.parametrize("hour", [0, 1, 2, 3])
def test_each_day_has_one_moment_whatever_clocks_do(zone: str, hour: int):
    nightly = Nightly(time(hour), ZoneInfo(zone))
    moment = nightly.next(datetime(2026, 1, 1, tzinfo=UTC))
    days = []
    for _ in range(400):
        following = nightly.next(moment)
        assert 22 * HOUR < following - moment < 26 * HOUR
        moment = following
        days.append(moment.astimezone(nightly.zone).date())
    assert all(later - earlier == DAY for earlier, later in pairwise(days))


def test_only_a_time_of_the_day_is_read_here():
    assert Nightly.parse("*-*-* 02:30:00") == Nightly(time(2, 30))
    for other in ("Sun *-*-* 02:00:00", "*-*-* 02:00:00 UTC", "*-*-* 25:00:00", "*:0/15"):
        assert Nightly.parse(other) is None


# Many machines.


Outcome = Callable[[datetime], str]


def runs(
    secret: bytes,
    sessions: Iterator[tuple[datetime, datetime]],
    outcome: Outcome = lambda _: "",
    **more: object,
) -> Iterator[datetime]:
    """Yield when a machine looks for an update that is on from and until these moments."""
    last: LastRun | None = None
    for since, until in sessions:
        last = last or LastRun(since - HOUR)
        now = since
        while True:
            made = plan(view(now=now, since=since, last=last, secret=secret, **more))
            assert made is not None
            now = max(now, made.when)
            if now >= until:
                break
            yield now
            code = outcome(now)
            in_a_row = 1 + (last.in_a_row if last is not None else 0) if code else 0
            last = LastRun(now, code, in_a_row)


def secrets(number: int) -> Iterator[bytes]:
    return (derived_secret(b"%d" % one) for one in range(number))


@pytest.mark.parametrize("hours", [1, 2])
def test_a_machine_that_is_on_for_an_hour_or_two_a_day_looks_each_day(hours: int):
    machines, days = (2_000, 60) if FULL else (150, 30)
    drawn = random.Random(hours)
    begin = MORNING.replace(hour=0)
    longest = []
    for secret in secrets(machines):
        sessions = []
        for day in range(days):
            start = begin + day * DAY + timedelta(seconds=drawn.randrange(86_400 - hours * 3_600))
            sessions.append((start, start + hours * HOUR))
        seen = [begin, *runs(secret, iter(sessions), stale=SHIPPED.stale), begin + days * DAY]
        longest.append(max(b - a for a, b in pairwise(seen)))
    assert sum(one <= 2 * DAY for one in longest) >= 0.99 * machines
    assert max(longest) <= 7 * DAY


def test_a_machine_that_is_always_on_looks_once_a_night():
    days = 400 if FULL else 200
    for secret in secrets(20):
        session = iter([(MORNING, MORNING + days * DAY)])
        found = [one.astimezone(BERLIN) for one in runs(secret, session)]
        assert len({one.date() for one in found}) == len(found) == days
        assert all(time(2) <= one.time() <= time(7) for one in found)


def test_ten_thousand_machines_are_not_in_step_at_night():
    made = [planned(secret=secret).when for secret in secrets(10_000)]
    seconds = Counter(made)
    minutes = Counter(one.replace(second=0) for one in made)
    assert max(minutes.values()) <= 3 * len(made) / (SPREAD / MINUTE)
    # Less than one a second: three at once are no herd.
    assert max(seconds.values()) <= 8


def most_in_a_second(made: list[datetime], spread: timedelta) -> float:
    """Return how many come in the worst second, in terms of the mean."""
    return max(Counter(made).values()) / (len(made) / spread.total_seconds())


@pytest.mark.parametrize(
    "last", [LastRun(MORNING - 30 * HOUR), None, LastRun(MORNING - 4 * HOUR, "server-failed", 5)]
)
def test_ten_thousand_machines_that_are_switched_on_at_eight_are_not_in_step(last: LastRun | None):
    made = [planned(secret=one, since=MORNING, last=last).when for one in secrets(10_000)]
    assert most_in_a_second(made, CATCH_UP - SETTLE) <= 3
    assert max(made) <= MORNING + CATCH_UP + SECOND


def test_ten_thousand_machines_whose_network_comes_at_once_are_not_in_step():
    last = failed("host-unknown", 3)
    hope = MORNING + 3 * MINUTE
    made = [planned(secret=one, last=last, now=hope, hope=hope).when for one in secrets(10_000)]
    assert most_in_a_second(made, AWAITED) <= 3


@pytest.mark.parametrize("code", ["server-failed", "host-unknown", "unauthorized"])
def test_a_registry_that_is_down_for_a_week_is_asked_seldom_and_all_recover(code: str):
    machines = 1_000 if FULL else 40
    up = MORNING + 7 * DAY
    asked: Counter[int] = Counter()
    for secret in secrets(machines):
        session = iter([(MORNING - 10 * DAY, up + DAY)])
        seen = list(runs(secret, session, lambda now: code if now < up else ""))
        down = [one for one in seen if one < up]
        assert all(b - a <= 12 * HOUR for a, b in pairwise(down))
        assert next(one for one in seen if one >= up) - up <= 6 * HOUR
        asked.update((one - MORNING) // HOUR for one in down)
    # After the first hours, less than two tries an hour and machine.
    assert all(count <= 2 * machines for hour, count in asked.items() if hour > 30)


def test_nothing_begins_outside_of_a_window():
    """From 22:00 to 23:00 on Saturdays and Sundays, and the registry is down every other time."""

    def opens(moment: datetime) -> datetime:
        day = moment.astimezone(BERLIN).date()
        while True:
            begin = datetime.combine(day, time(22), BERLIN)
            if day.isoweekday() >= 6 and moment < begin + HOUR:
                return max(moment, begin.astimezone(UTC))
            day = date.fromordinal(day.toordinal() + 1)

    number = 0
    for secret in secrets(50 if FULL else 10):
        session = iter([(MORNING, MORNING + 60 * DAY)])
        outcome: Outcome = lambda now: "server-failed" if now.minute % 2 else ""  # noqa: E731
        for one in runs(secret, session, outcome, opens=opens):
            local = one.astimezone(BERLIN)
            assert local.isoweekday() >= 6
            assert local.hour == 22
            number += 1
    assert number > 10 * 16
