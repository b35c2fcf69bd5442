"""Starts the automatic runs: the one place of the daemon that waits for a time of the day.

What is due when says `bootd.schedule.plan`; here is what it goes by and what is waited for: a timer
that also hears the clock set, the end of a sleep, a network. Nothing is kept that the record of the
attempts does not say. systemd's timer is the switch, and starts a daemon that does not run.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from bootd.clock import Clock
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.event_loop import asyncio
from bootd.daemon.jobs import Job, JobRunner, JobState
from bootd.daemon.machine import Machine
from bootd.daemon.unattended.awaited import Awaited
from bootd.daemon.unattended.timetable import Timetable, machine_secret
from bootd.daemon.unattended.wake_timer import WakeTimer
from bootd.model.attempts import DECIDED_OR_DONE, Attempt
from bootd.model.config import Automatic
from bootd.model.errors import BootdError, InternalError, NotDueError, registered_errors
from bootd.operations.machine.attempts import read_attempts
from bootd.schedule.plan import LastRun, Plan, View, plan
from bootd.schedule.retry import is_of_network

_log = logging.getLogger(__name__)

LIMIT_SECONDS: Final = 6 * 3_600.0
"""How long an automatic run may take; what it fetched is kept for the next."""
_LATE: Final = timedelta(minutes=1)
"""A timer that comes later slept."""
_REST: Final = timedelta(minutes=10)
"""Between two runs of which the first left no trace, such as on a disk that is full."""
_AFTER_A_FAULT_SECONDS: Final = 60.0
_ROOT: Final = 0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Scheduler:
    """Plans the next automatic run and starts it.

    Args:
        connection: the system bus.
        machine: what is looked after.
        runner: where jobs run.
        start: starts an automatic run.
        timetable: awaited for when the timer wants one; None: it is switched off. One without
            times lets failures be followed up and no more.
        changed: called when there is another plan.
    """

    def __init__(
        self,
        connection: Connection,
        machine: Machine,
        runner: JobRunner,
        *,
        start: Callable[[], Job],
        timetable: Callable[[], Awaitable[Timetable | None]],
        changed: Callable[[], None],
    ) -> None:
        self._machine = machine
        self._runner = runner
        self._start = start
        self._timetable = timetable
        self._changed = changed
        self._awaited = Awaited(connection, self._woke_up, self._network_came)
        self._news = asyncio.Event()
        self._secret = machine_secret()
        self._since = self._clock.now() - timedelta(seconds=self._clock.since_start())
        self._hope: datetime | None = None
        self._started: datetime | None = None
        self._last: Attempt | None = None
        self.plan: Plan | None = None

    @property
    def _clock(self) -> Clock:
        return self._machine.host.clock

    async def run(self) -> None:
        """Plan, wait and start, for ever."""
        await self._awaited.start()
        timer = WakeTimer(self._timer_came)
        try:
            while True:
                try:
                    await self._turn(timer)
                except BootdError as error:
                    _log.warning("no automatic run could be started: %s", error.message)
                    await asyncio.sleep(_AFTER_A_FAULT_SECONDS)
                except Exception:  # noqa: BLE001 - the daemon is there for more than this
                    _log.exception("no automatic run could be planned")
                    await asyncio.sleep(_AFTER_A_FAULT_SECONDS)
        finally:
            timer.close()

    async def _turn(self, timer: WakeTimer) -> None:
        self._news.clear()
        await self.look()
        if self._is_due() and self._runner.running is None:
            self._started = self._clock.now()
            self._start()
        running = self._runner.running is not None
        timer.set(None if self.plan is None or running else self.plan.when)
        await self._news.wait()

    async def look(self) -> None:
        """Plan anew, from what is on the disk."""
        timetable = await self._timetable()
        made = await asyncio.to_thread(self._plan, timetable)
        failed_with = "" if self._last is None else self._last.outcome
        await self._awaited.heed_network(made is not None and is_of_network(failed_with))
        if made != self.plan:
            self.plan = made
            self._changed()
            # Whoever asked: what waits has to wait for this one.
            self._news.set()

    async def require_due(self, user: int) -> None:
        """Return if a run is due, or is on its way.

        Raises:
            NotDueError: it is not, and the last one did not fail.
            BootdError: the last one failed, and the next try is to come.
        """
        await self.look()
        running = self._runner.running
        if self._is_due() or (running is not None and running.is_unasked):
            return
        when = "no next run is planned"
        if self.plan is not None:
            when = f"the next run is planned for {self.plan.when:%Y-%m-%d %H:%M:%S} UTC"
        if self._last is None or not self._last.is_failure:
            raise NotDueError(when)
        kind = registered_errors().get(self._last.outcome, InternalError)
        message = self._last.message if user == _ROOT else kind.code
        raise kind(f"the last run failed, and {when}: {message}", hint=self._last.hint)

    def poke(self) -> None:
        """Take up that something changed: a job ended, or the settings are others."""
        self._news.set()

    def limit(self, job: Job) -> None:
        """Give an automatic run an end."""
        if job.is_unasked:
            asyncio.get_running_loop().call_later(LIMIT_SECONDS, self._end, job)

    def _end(self, job: Job) -> None:
        if job.state in {JobState.WAITING, JobState.RUNNING}:
            _log.warning("job %d has taken %d hours and ends", job.id, LIMIT_SECONDS // 3_600)
            self._runner.cancel(job)

    def _is_due(self) -> bool:
        return self.plan is not None and self.plan.when <= self._clock.now()

    def _plan(self, timetable: Timetable | None) -> Plan | None:
        host = self._machine.host
        known = read_attempts(host.sysroot)
        self._last = last = known.run
        is_off = host.configuration.automatic is Automatic.OFF
        if timetable is None or is_off or self._machine.status.image is None:
            return None
        made = plan(
            View(
                now=self._clock.now(),
                since=self._since,
                last=None if last is None else _last_run(last, known.in_a_row),
                secret=self._secret,
                calendar=timetable.next if timetable.expressions else None,
                spread=timetable.spread,
                stale=timetable.stale,
                hope=self._hope,
            )
        )
        if made is None or self._started is None or self._left_a_trace(last):
            return made
        return Plan(max(made.when, self._started + _REST), made.why)

    def _left_a_trace(self, last: Attempt | None) -> bool:
        """Whether the record knows of the run that was started last; a clock may have gone back."""
        assert self._started is not None
        if last is not None and last.when >= self._started:
            return True
        return self._started > self._clock.now()

    def _timer_came(self, clock_was_set: bool) -> None:  # noqa: FBT001 - the timer's two reasons
        now = self._clock.now()
        if clock_was_set:
            self._since = self._hope = now
        elif self.plan is not None and now - self.plan.when > _LATE:
            self._since = now
        self._news.set()

    def _woke_up(self) -> None:
        self._since = self._clock.now()
        self._news.set()

    def _network_came(self) -> None:
        self._hope = self._clock.now()
        self._news.set()


def _last_run(last: Attempt, in_a_row: int) -> LastRun:
    # What was cancelled is tried again, too.
    ended_well = last.outcome in DECIDED_OR_DONE
    return LastRun(
        max(last.when, _EPOCH), "" if ended_well else last.outcome, in_a_row, last.not_before
    )
