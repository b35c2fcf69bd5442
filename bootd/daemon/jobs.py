"""Jobs: what takes time, one at a time.

Invariants: at most one job runs, and each has an end, because one that comes no further is ended.
The same request again joins the job that is there. Another one waits its turn where the one or the
other gives way: checks and automatic runs do, so that neither the timer nor a desktop's look is in
anybody's way, or fails because of somebody. Of two that people asked for the second is refused with
a message that names the first. A job outlives whoever asked for it. A job that ended stays readable
for `LINGER_SECONDS`, and of those at most `MAX_ENDED` are kept. Progress never goes back.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from bootd.clock import SYSTEM_CLOCK, Clock
from bootd.daemon.dbus.privacy import for_anybody
from bootd.daemon.event_loop import asyncio
from bootd.daemon.worker import Step, Worker
from bootd.model.attempts import FailingUpdates
from bootd.model.errors import (
    BootdError,
    BusyError,
    CancelledError,
    InternalError,
    NoProgressError,
)
from bootd.operations.jobs.kind import JobKind
from bootd.operations.jobs.request import Request, RequestT

_log = logging.getLogger(__name__)

LINGER_SECONDS: Final = 600.0
MAX_ENDED: Final = 16
MAX_WAITING: Final = 16
_HOUR: Final = 3_600.0


class JobState(StrEnum):
    """How a job fares."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_ENDED: Final = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Limits:
    """When a job is ended that does not end.

    Attributes:
        quiet_seconds: how long it may come no further.
        total_seconds: how long it may take, whatever progress it makes.
    """

    quiet_seconds: float = 2 * _HOUR
    total_seconds: float = 25 * _HOUR


@dataclass(slots=True, eq=False)
class Job:
    """One job; what it is does not change, how it fares does."""

    id: int
    kind: JobKind[Any]
    request: Request
    requester: int
    """The user ID that asked first."""
    started: datetime
    state: JobState = JobState.WAITING
    step: Step = field(default_factory=lambda: Step("", 0, 0, 0.0))
    result: str = ""
    """The document as JSON, of a job that is done."""
    public_result: str = ""
    """The same as anybody may read it."""
    error: BootdError | None = None
    is_news: bool = True
    """What it found, or failed with, was not announced before."""
    recovered_from: FailingUpdates | None = None
    """The failures that it put an end to."""
    for_the_timer: bool = False
    """A check that the timer's run consists of, and that nobody else asks for."""
    stopped_for: BootdError | None = None
    """Why it was cancelled, if not because somebody asked for that."""

    @property
    def is_automatic(self) -> bool:
        """Nobody asked for it."""
        return self.request.is_automatic

    @property
    def is_unasked(self) -> bool:
        """No person and no client would miss it."""
        return self.is_automatic or self.for_the_timer

    @property
    def gives_way(self) -> bool:
        """It is waited for, and waits for others, where those of people refuse each other."""
        return self.is_automatic or self.kind.gives_way

    def is_for(self, kind: JobKind[Any], request: Request) -> bool:
        """Return whether it is for the very same."""
        return (self.kind, self.request) == (kind, request)

    def advance(self, step: Step) -> None:
        """Take up progress; the whole never goes back and is not complete before the end."""
        overall = max(self.step.overall, min(step.overall, 1.0))
        self.step = Step(step.phase, step.done, step.total, overall)


class JobListener(Protocol):
    """Who is told of jobs."""

    def job_new(self, job: Job) -> None:
        """Take note of a new job, before the request that made it is answered."""

    def job_advanced(self, job: Job) -> None:
        """Take note of progress, which comes many times a second."""

    def job_ended(self, job: Job) -> None:
        """Take note that a job is no longer running."""

    def job_forgotten(self, job: Job) -> None:
        """Take note that an ended job is dropped."""


class JobRunner:
    """Starts jobs and keeps those that ended lately.

    Args:
        worker: runs the operations.
        listener: is told of everything.
        settle: awaited between a job's last word and its end, so that whoever sees the end also
            sees what the job changed; it is given the document, or the error.
        clock: the machine's.
        linger_seconds: how long an ended job stays.
        limits: asked at the start of each job.
    """

    def __init__(
        self,
        worker: Worker,
        listener: JobListener,
        settle: Callable[[Job, dict[str, Any] | BootdError], Awaitable[None]],
        *,
        clock: Clock = SYSTEM_CLOCK,
        linger_seconds: float = LINGER_SECONDS,
        limits: Callable[[], Limits] = Limits,
    ) -> None:
        self._worker = worker
        self._listener = listener
        self._settle = settle
        self._clock = clock
        self._linger_seconds = linger_seconds
        self._limits = limits
        self._jobs: dict[int, Job] = {}
        self._last_id = 0
        self._task: asyncio.Task[None] | None = None
        self._work: asyncio.Task[dict[str, Any]] | None = None
        self._stopping = False

    @property
    def running(self) -> Job | None:
        """The job that runs."""
        return next((job for job in self._jobs.values() if job.state is JobState.RUNNING), None)

    def start(
        self,
        kind: JobKind[RequestT],
        request: RequestT,
        requester: int,
        *,
        for_the_timer: bool = False,
    ) -> Job:
        """Start a job, let it wait its turn, or join the one that is for the very same.

        Raises:
            BusyError: another job runs or waits, and neither gives way; or too many wait.
        """
        ahead = [job for job in self._jobs.values() if job.state not in _ENDED]
        for job in ahead:
            if job.is_for(kind, request):
                job.for_the_timer &= for_the_timer
                return job
        job = Job(self._last_id + 1, kind, request, requester, self._clock.now())
        job.for_the_timer = for_the_timer
        in_the_way = [] if job.gives_way else [one for one in ahead if not one.gives_way]
        # Of automatic ones there is no more than one, so that it always finds a place.
        if in_the_way or (len(ahead) > MAX_WAITING and not job.is_automatic):
            raise _busy((in_the_way or ahead)[0])
        self._last_id = job.id
        self._jobs[job.id] = job
        self._drop_oldest()
        if self.running is None:
            job.state = JobState.RUNNING
        self._listener.job_new(job)
        if job.state is JobState.RUNNING:
            self._begin(job)
        return job

    def cancel(self, job: Job, *, because: BootdError | None = None) -> None:
        """Stop a job, or take it out of the queue; one that has ended stays as it is.

        Args:
            job: which.
            because: what it ends with; None: somebody cancelled it.
        """
        if job.state is JobState.WAITING:
            self._finish(job, because or CancelledError("the job was cancelled before its turn"))
        elif job is self.running and self._work is not None and not self._work.cancelling():
            job.stopped_for = because
            self._work.cancel()

    def cancel_automatic(self, because: BootdError) -> None:
        """Stop what nobody asked for."""
        for job in list(self._jobs.values()):
            if job.is_automatic:
                self.cancel(job, because=because)

    async def stop(self) -> None:
        """Cancel all jobs and wait for the end of the one that runs."""
        self._stopping = True
        for job in list(self._jobs.values()):
            self.cancel(job)
        if self._task is not None:
            await self._task

    def _begin(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        self._work = loop.create_task(self._guarded(job))
        self._task = loop.create_task(self._run(job, self._work))

    def _begin_next(self) -> None:
        """Let the next one have its turn: of a person before that of nobody, the oldest first."""
        waiting = [job for job in self._jobs.values() if job.state is JobState.WAITING]
        if waiting and not self._stopping:
            job = min(waiting, key=lambda one: (one.is_automatic, one.id))
            job.state = JobState.RUNNING
            self._listener.job_advanced(job)
            self._begin(job)

    async def _run(self, job: Job, work: asyncio.Task[dict[str, Any]]) -> None:
        outcome: dict[str, Any] | BootdError
        try:
            outcome = await work
        except asyncio.CancelledError:
            outcome = job.stopped_for or CancelledError("the job was cancelled")
        except CancelledError as error:
            outcome = job.stopped_for or error
        except BootdError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - a job must end, whatever befell it
            _log.exception("job %d (%s) failed", job.id, job.kind.name)
            outcome = InternalError(f"{job.kind.name} failed: {type(error).__name__}")
        await self._end(job, outcome)

    async def _guarded(self, job: Job) -> dict[str, Any]:
        """Run a job, and end it if it comes no further.

        Raises:
            BootdError: see `Worker.run`; NoProgressError if it was ended.
        """
        limits, loop = self._limits(), asyncio.get_running_loop()
        end = loop.time() + limits.total_seconds
        watch = asyncio.timeout(min(limits.quiet_seconds, limits.total_seconds))

        def advance(step: Step) -> None:
            # Where nothing is counted, to say that it goes on is all a job can do.
            moved = not step.total or (step.phase, step.done) != (job.step.phase, job.step.done)
            if moved and not watch.expired():
                watch.reschedule(min(end, loop.time() + limits.quiet_seconds))
            job.advance(step)
            self._listener.job_advanced(job)

        try:
            async with watch:
                return await self._worker.run(job.kind.name, job.request.as_json(), advance, job.id)
        except (TimeoutError, CancelledError) as error:
            if not watch.expired():
                raise
            raise _no_progress(job, limits, over=loop.time() >= end) from error

    async def _end(self, job: Job, outcome: dict[str, Any] | BootdError) -> None:
        try:
            await self._settle(job, outcome)
        except Exception:  # noqa: BLE001 - a job must end, whatever befell it
            _log.exception("what job %d (%s) changed could not be taken up", job.id, job.kind.name)
        self._finish(job, outcome)
        self._begin_next()

    def _finish(self, job: Job, outcome: dict[str, Any] | BootdError) -> None:
        # Result, error and state in one step: progress may be told while the job settles.
        if isinstance(outcome, dict):
            job.result = json.dumps(outcome)
            public = for_anybody(outcome)
            job.public_result = job.result if public == outcome else json.dumps(public)
            job.step = Step(job.step.phase, job.step.total, job.step.total, 1.0)
            job.state = JobState.DONE
        else:
            job.error = outcome
            cancelled = isinstance(outcome, CancelledError)
            job.state = JobState.CANCELLED if cancelled else JobState.FAILED
        self._listener.job_ended(job)
        asyncio.get_running_loop().call_later(self._linger_seconds, self._forget, job)

    def _drop_oldest(self) -> None:
        ended = [job for job in self._jobs.values() if job.state in _ENDED]
        for job in ended[:-MAX_ENDED]:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        if self._jobs.pop(job.id, None) is not None:
            self._listener.job_forgotten(job)


def _no_progress(job: Job, limits: Limits, *, over: bool) -> NoProgressError:
    phase = job.step.phase or "starting"
    hours = (limits.total_seconds if over else limits.quiet_seconds) / _HOUR
    how = "was not done" if over else "came no further"
    return NoProgressError(
        f"{job.kind.name} {how} within {hours:.1f} hours and was ended while {phase}"
    )


def _busy(job: Job) -> BusyError:
    return BusyError(
        f"job {job.id} ({job.kind.name}) is {job.state}",
        hint=f"Wait for it ('bootctl-py jobs') or cancel it ('bootctl-py cancel {job.id}').",
    )
