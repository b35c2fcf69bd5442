"""The object of a job: org.bootd1.Job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootd.daemon.jobs import Job, JobRunner
from bootd.daemon.options import take_options
from bootd.daemon.polkit import Action, Authority
from bootd.daemon.server import Handler
from bootd.daemon.times import microseconds
from bootd.daemon.wire import IncomingCall


class JobObject:
    """A job as the bus sees it."""

    def __init__(self, job: Job, runner: JobRunner, authority: Authority) -> None:
        self._job = job
        self._runner = runner
        self._authority = authority

    def methods(self) -> Mapping[str, Handler]:
        """Return the handlers."""
        return {"Cancel": self._cancel}

    def properties(self) -> Mapping[str, Any]:
        """Return the property values."""
        job, step, error = self._job, self._job.step, self._job.error
        return {
            "Id": job.id,
            "Kind": job.kind,
            "Requester": job.requester,
            "Started": microseconds(job.started),
            "State": job.state.value,
            "Phase": step.phase,
            "Progress": step.overall,
            "BytesDone": step.done,
            "BytesTotal": step.total,
            "Result": job.result,
            "Error": ["", "", ""] if error is None else [error.code, error.message, error.hint],
        }

    async def _cancel(self, call: IncomingCall, options: Mapping[str, Any]) -> None:
        take_options(options)
        # Who asked for a job may stop it; others need polkit's leave.
        if await self._authority.user(call) != self._job.requester:
            await self._authority.require(call, Action.CANCEL, {"job": self._job.kind})
        self._runner.cancel(self._job)
