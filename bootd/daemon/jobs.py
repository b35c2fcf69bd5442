"""Jobs: what takes time, one at a time.

Invariants: at most one job runs; the same request again joins it, another one is refused with a
message that names it. A job outlives whoever asked for it. A job that ended stays readable for
`LINGER_SECONDS`, and of those at most `MAX_ENDED` are kept. Progress never goes back.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from bootd.clock import SYSTEM_CLOCK, Clock
from bootd.daemon.event_loop import asyncio
from bootd.daemon.privacy import for_anybody
from bootd.daemon.worker import Step, Worker
from bootd.model.errors import BootdError, BusyError, CancelledError, InternalError

_log = logging.getLogger(__name__)

LINGER_SECONDS: Final = 600.0
MAX_ENDED: Final = 16


class JobState(StrEnum):
    """How a job fares."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True, eq=False)
class Job:
    """One job; what it is does not change, how it fares does."""

    id: int
    kind: str
    arguments: Mapping[str, Any]
    requester: int
    """The user ID that asked first."""
    started: datetime
    state: JobState = JobState.RUNNING
    step: Step = field(default_factory=lambda: Step("", 0, 0, 0.0))
    result: str = ""
    """The document as JSON, of a job that is done."""
    public_result: str = ""
    """The same as anybody may read it."""
    error: BootdError | None = None
    is_news: bool = True
    """What a check found was not announced before."""

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
    """

    def __init__(
        self,
        worker: Worker,
        listener: JobListener,
        settle: Callable[[Job, dict[str, Any] | BootdError], Awaitable[None]],
        *,
        clock: Clock = SYSTEM_CLOCK,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._worker = worker
        self._listener = listener
        self._settle = settle
        self._clock = clock
        self._linger_seconds = linger_seconds
        self._jobs: dict[int, Job] = {}
        self._last_id = 0
        self._task: asyncio.Task[None] | None = None
        self._work: asyncio.Task[dict[str, Any]] | None = None
        self._changing = asyncio.Lock()

    @property
    def running(self) -> Job | None:
        """The job that runs."""
        return next((job for job in self._jobs.values() if job.state is JobState.RUNNING), None)

    def start(self, kind: str, arguments: Mapping[str, Any], requester: int) -> Job:
        """Start a job, or join the running one if it is for the very same.

        Raises:
            BusyError: another job runs.
        """
        running = self.running
        if running is not None:
            if (running.kind, running.arguments) == (kind, arguments):
                return running
            raise _busy(running)
        self._last_id += 1
        job = Job(self._last_id, kind, dict(arguments), requester, self._clock.now())
        self._jobs[job.id] = job
        self._drop_oldest()
        self._listener.job_new(job)
        loop = asyncio.get_running_loop()
        self._work = loop.create_task(self._guarded(job))
        self._task = loop.create_task(self._run(job, self._work))
        return job

    def cancel(self, job: Job) -> None:
        """Stop a job; one that has ended stays as it is."""
        if job is self.running and self._work is not None and not self._work.cancelling():
            self._work.cancel()

    @asynccontextmanager
    async def change(self) -> AsyncIterator[None]:
        """Hold off jobs for a quick change that is none itself.

        Raises:
            BusyError: a job runs.
        """
        if self.running is not None:
            raise _busy(self.running)
        async with self._changing:
            yield

    async def stop(self) -> None:
        """Cancel the running job and wait for its end."""
        if self.running is not None:
            self.cancel(self.running)
        if self._task is not None:
            await self._task

    async def _run(self, job: Job, work: asyncio.Task[dict[str, Any]]) -> None:
        outcome: dict[str, Any] | BootdError
        try:
            outcome = await work
        except asyncio.CancelledError:
            outcome = CancelledError("the job was cancelled")
        except BootdError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - a job must end, whatever befell it
            _log.exception("job %d (%s) failed", job.id, job.kind)
            outcome = InternalError(f"{job.kind} failed: {type(error).__name__}")
        await self._end(job, outcome)

    async def _guarded(self, job: Job) -> dict[str, Any]:
        def advance(step: Step) -> None:
            job.advance(step)
            self._listener.job_advanced(job)

        async with self._changing:
            return await self._worker.run(job.kind, job.arguments, advance, job.id)

    async def _end(self, job: Job, outcome: dict[str, Any] | BootdError) -> None:
        try:
            await self._settle(job, outcome)
        except Exception:  # noqa: BLE001 - a job must end, whatever befell it
            _log.exception("what job %d (%s) changed could not be taken up", job.id, job.kind)
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
        ended = [job for job in self._jobs.values() if job.state is not JobState.RUNNING]
        for job in ended[:-MAX_ENDED]:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        if self._jobs.pop(job.id, None) is not None:
            self._listener.job_forgotten(job)


def _busy(job: Job) -> BusyError:
    return BusyError(
        f"job {job.id} ({job.kind}) is running",
        hint=f"Wait for it ('bootctl-py jobs') or cancel it ('bootctl-py cancel {job.id}').",
    )
