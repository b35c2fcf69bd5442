"""The object of a job: org.bootd1.Job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bootd.daemon.dbus.options import take_options
from bootd.daemon.dbus.polkit import Authority
from bootd.daemon.dbus.server import Handler
from bootd.daemon.dbus.wire import IncomingCall
from bootd.daemon.jobs import Job, JobRunner
from bootd.daemon.unattended.times import microseconds
from bootd.model.action import Action
from bootd.model.errors import BusyError

_ROOT: Final = 0
_WITHHELD: Final = "the reason is shown to root and to who asked for this job"


class JobObject:
    """A job as the bus sees it."""

    def __init__(self, job: Job, runner: JobRunner, authority: Authority) -> None:
        self._job = job
        self._runner = runner
        self._authority = authority

    def methods(self) -> Mapping[str, Handler]:
        """Return the handlers."""
        return {"Cancel": self._cancel}

    def properties(self, reader: int | None = None) -> Mapping[str, Any]:
        """Return the property values.

        The words of an error are for root and for who asked for the job: they may name what others
        need not know, such as a reference with a password in it. Root reads the whole result.
        """
        job, step, error = self._job, self._job.step, self._job.error
        told = ["", "", ""]
        if error is not None:
            may_read = reader in (_ROOT, job.requester)
            told = [error.code, *((error.message, error.hint) if may_read else (_WITHHELD, ""))]
        return {
            "Id": job.id,
            "Kind": job.kind.name,
            "Requester": job.requester,
            "Started": microseconds(job.started),
            "State": job.state.value,
            "Phase": step.phase,
            "Progress": step.overall,
            "BytesDone": step.done,
            "BytesTotal": step.total,
            "Result": job.result if reader == _ROOT else job.public_result,
            "Error": told,
        }

    async def _cancel(self, call: IncomingCall, options: Mapping[str, Any]) -> None:
        given = take_options(options, automatic=bool)
        if given.get("automatic", False) and not self._job.is_unasked:
            raise BusyError("somebody else wants this job, too")
        # Who asked for a job may stop it; others need polkit's leave.
        if await self._authority.user(call) != self._job.requester:
            await self._authority.require(call, Action.CANCEL, {"job": self._job.kind.name})
        self._runner.cancel(self._job)
