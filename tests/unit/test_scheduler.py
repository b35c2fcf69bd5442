"""The engine of the schedule: what it goes by, what it starts, and what it does not repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bootd.clock import Clock
from bootd.daemon.jobs import Job, JobState
from bootd.daemon.unattended import scheduler as module
from bootd.daemon.unattended.scheduler import Scheduler
from bootd.daemon.unattended.timetable import SHIPPED, Timetable
from bootd.model.attempts import Attempt, Attempts
from bootd.model.config import Automatic, Configuration
from bootd.model.errors import BusyError, NotDueError, UnauthorizedError
from bootd.operations.jobs.table import STAGE, StageRequest
from bootd.schedule.plan import Plan, Why
from bootd.sysroot import Sysroot

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
NIGHTLY = Timetable((SHIPPED,), timedelta(minutes=15))
RUN = {"automatic": True}


@dataclass(frozen=True, slots=True)
class Hand(Clock):
    """A clock that is set by hand."""

    at: list[datetime] = field(default_factory=lambda: [NOON])

    def now(self) -> datetime:
        return self.at[0]

    def since_start(self) -> float:
        return 7 * 86_400.0


class Bench:
    """A scheduler among stand-ins, and what it did."""

    def __init__(self, folder: Path) -> None:
        self.clock = Hand()
        self.host = SimpleNamespace(
            clock=self.clock, configuration=Configuration(), sysroot=Sysroot.at(folder)
        )
        self.host.sysroot.store.mkdir()
        self.machine = SimpleNamespace(host=self.host, status=SimpleNamespace(image="an/image:1"))
        self.timetable: Timetable | None = NIGHTLY
        self.cancelled: list[Job] = []
        self.runner = SimpleNamespace(running=None, cancel=self.cancelled.append)
        self.starts: list[datetime] = []
        self.plans: list[Plan | None] = []
        self.on_start: Callable[[], None] = lambda: None
        self.scheduler = Scheduler(
            SimpleNamespace(heeds=bool, listen=lambda _: None, ask_bus=self._ask_bus),  # type: ignore[arg-type]
            self.machine,  # type: ignore[arg-type]
            self.runner,  # type: ignore[arg-type]
            start=self._start,
            timetable=self._timetable,
            changed=lambda: self.plans.append(self.scheduler.plan),
        )

    async def _ask_bus(self, member: str, *_: Any) -> list[Any]:
        return [":1.1"] if member == "GetNameOwner" else []

    async def _timetable(self) -> Timetable | None:
        return self.timetable

    def _start(self) -> Job:
        self.starts.append(self.clock.now())
        self.on_start()
        return self.job()

    def job(self, **arguments: bool) -> Job:
        return Job(1, STAGE, StageRequest(**(arguments or RUN)), 0, self.clock.now())

    def remember(self, outcome: str = "done", ago: timedelta = timedelta()) -> None:
        attempt = Attempt(when=self.clock.now() - ago, operation="stage", outcome=outcome)
        known = Attempts(last_run=attempt, in_a_row=int(attempt.is_failure))
        (self.host.sysroot.store / "attempts.json").write_text(known.model_dump_json())

    async def turns(self, number: int) -> None:
        """Let it run, each time until it waits; its timer comes at once."""
        task = asyncio.ensure_future(self.scheduler.run())
        try:
            for _ in range(number):
                for _ in range(50):
                    await asyncio.sleep(0.002)
                plan = self.scheduler.plan
                if plan is not None:
                    self.clock.at[0] = max(self.clock.now(), plan.when)
                self.scheduler.poke()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_run_that_is_due_is_started_and_the_next_one_planned(bench: Bench):
    bench.remember(ago=timedelta(days=3))
    bench.on_start = bench.remember
    await bench.turns(4)
    assert len(bench.starts) >= 2
    assert bench.starts[1] - bench.starts[0] > timedelta(hours=6)
    assert bench.scheduler.plan is not None
    assert bench.scheduler.plan.why is Why.REGULAR


async def test_a_run_that_leaves_no_trace_is_not_repeated_at_once(bench: Bench):
    bench.remember(ago=timedelta(days=3))
    await bench.turns(4)
    gaps = [b - a for a, b in zip(bench.starts, bench.starts[1:], strict=False)]
    assert gaps
    assert min(gaps) >= timedelta(minutes=10)


async def test_one_that_cannot_be_started_ends_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_AFTER_A_FAULT_SECONDS", 0.0)
    bench.remember(ago=timedelta(days=3))

    def busy() -> None:
        raise BusyError("another job runs") if len(bench.starts) == 1 else ValueError("a fault")

    bench.on_start = busy
    await bench.turns(4)
    assert len(bench.starts) >= 2


async def test_nothing_is_planned_where_nothing_is_wanted(bench: Bench):
    for change in ("timer", "settings", "image"):
        bench.remember("server-failed")
        await bench.scheduler.look()
        assert bench.scheduler.plan is not None
        if change == "timer":
            bench.timetable = None
        if change == "settings":
            bench.host.configuration = Configuration(automatic=Automatic.OFF)
        if change == "image":
            bench.machine.status.image = None
        await bench.scheduler.look()
        assert bench.scheduler.plan is None
        bench.timetable = NIGHTLY
        bench.host.configuration, bench.machine.status.image = Configuration(), "an/image:1"


async def test_a_record_that_makes_no_sense_does_no_harm(bench: Bench):
    for when in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        last = {"when": when, "operation": "stage", "outcome": "server-failed", "not_before": when}
        path = bench.host.sysroot.store / "attempts.json"
        path.write_text(
            Attempts.model_validate({"last_run": last, "in_a_row": 9**30}).model_dump_json()
        )
        await bench.scheduler.look()
        assert bench.scheduler.plan is not None
        assert bench.scheduler.plan.when <= NOON + timedelta(days=2)


async def test_a_record_of_an_older_release_is_gone_by(bench: Bench):
    attempts = [
        Attempt(when=NOON, operation="check", outcome="done"),
        Attempt(when=NOON - timedelta(hours=1), operation="stage", outcome="done"),
    ]
    path = bench.host.sysroot.store / "attempts.json"
    path.write_text(Attempts(recent=attempts).model_dump_json())
    await bench.scheduler.look()
    assert bench.scheduler.plan is not None
    assert bench.scheduler.plan.why is Why.REGULAR


async def test_a_clock_that_is_set_and_a_sleep_spread_what_was_missed_anew(bench: Bench):
    bench.remember(ago=timedelta(days=3))
    for event in (
        lambda: bench.scheduler._timer_came(True),
        bench.scheduler._woke_up,
    ):
        bench.clock.at[0] += timedelta(hours=1)
        event()
        await bench.scheduler.look()
        assert bench.scheduler.plan is not None
        assert timedelta(minutes=1) <= bench.scheduler.plan.when - bench.clock.now()
    # A timer that comes late slept, too.
    bench.clock.at[0] += timedelta(hours=1)
    bench.scheduler._timer_came(False)
    await bench.scheduler.look()
    assert timedelta(minutes=1) <= bench.scheduler.plan.when - bench.clock.now()


async def test_a_network_is_waited_for_only_where_one_is_missing(bench: Bench):
    heard: list[bool] = []

    async def heed(wanted: bool) -> None:
        heard.append(wanted)

    bench.scheduler._awaited = SimpleNamespace(heed_network=heed)  # type: ignore[assignment]
    for outcome in ("done", "host-unknown", "unauthorized"):
        bench.remember(outcome)
        await bench.scheduler.look()
    assert heard == [False, True, False]
    bench.remember("host-unknown", ago=timedelta(minutes=2))
    bench.scheduler._network_came()
    await bench.scheduler.look()
    assert bench.scheduler.plan is not None


async def test_who_asks_whether_it_is_time_is_told(bench: Bench):
    bench.remember(ago=timedelta(days=3))
    await bench.scheduler.require_due(0)
    bench.remember()
    with pytest.raises(NotDueError, match="2026-12-01"):
        await bench.scheduler.require_due(0)
    bench.remember("unauthorized")
    with pytest.raises(UnauthorizedError, match="the last run failed"):
        await bench.scheduler.require_due(0)
    bench.runner.running = bench.job()
    await bench.scheduler.require_due(0)
    bench.runner.running = bench.job(automatic=False)
    with pytest.raises(UnauthorizedError):
        await bench.scheduler.require_due(0)


async def test_an_automatic_run_has_an_end(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LIMIT_SECONDS", 0.0)
    slow, quick, by_hand = bench.job(), bench.job(), bench.job(automatic=False)
    quick.state = JobState.DONE
    for job in (slow, quick, by_hand):
        bench.scheduler.limit(job)
    await asyncio.sleep(0.05)
    assert bench.cancelled == [slow]
