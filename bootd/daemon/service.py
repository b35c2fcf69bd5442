"""The daemon's parts put together: the machine, its jobs and their objects on the bus."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from bootd.daemon import live
from bootd.daemon.dbus import names
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.callers import Callers
from bootd.daemon.dbus.polkit import Authority
from bootd.daemon.dbus.server import ObjectServer
from bootd.daemon.deployment import DeploymentObject
from bootd.daemon.event_loop import asyncio
from bootd.daemon.events.news import tell_of_job, tell_of_start
from bootd.daemon.events.notify import ServiceManager
from bootd.daemon.events.status_file import StatusFile
from bootd.daemon.job import JobObject
from bootd.daemon.jobs import Job, JobRunner, JobState
from bootd.daemon.machine import Machine
from bootd.daemon.manager import ManagerObject
from bootd.daemon.requests import path_of
from bootd.daemon.unattended.applying import Applier
from bootd.daemon.unattended.scheduler import Scheduler
from bootd.daemon.unattended.timetable import Timetable
from bootd.daemon.worker import Worker
from bootd.model.attempts import NextRun
from bootd.model.digest import Digest
from bootd.model.errors import BootdError, BusyError, CancelledError, StorageError
from bootd.operations.jobs.table import STAGE
from bootd.operations.machine.attempts import note_attempt
from bootd.operations.machine.reboot_required import show_reboot_required

_log = logging.getLogger(__name__)

PUBLISH_SECONDS: Final = 0.25
"""Progress is told at most four times a second."""

_ROOT: Final = 0


class Service:
    """Keeps what is on the bus true to the machine.

    Args:
        connection: the bus.
        machine: what is managed.
        service_manager: is told how things stand.
        worker: runs the jobs.
    """

    def __init__(
        self,
        connection: Connection,
        machine: Machine,
        service_manager: ServiceManager,
        worker: Worker | None = None,
    ) -> None:
        self._connection = connection
        self._machine = machine
        self._service_manager = service_manager
        callers = Callers(connection)
        self._server = ObjectServer(connection, callers)
        self._authority = Authority(connection, callers)
        self._runner = JobRunner(worker or Worker(machine.directory), self, self._settle)
        reboot = partial(live.reboot, connection)
        self._applier = Applier(connection, machine, self._runner, reboot)
        self._manager = ManagerObject(
            machine,
            self._runner,
            self._authority,
            refresh=self.refresh,
            reboot=reboot,
            applier=self._applier,
        )
        self._scheduler = Scheduler(
            connection,
            machine,
            self._runner,
            start=partial(self._manager.start_automatic, _ROOT),
            timetable=self._timetable,
            changed=self._show_plan,
        )
        self._manager.require_due = self._scheduler.require_due
        self._status_file: StatusFile | None = None
        self._deployments: dict[str, DeploymentObject] = {}
        self._pending: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Recover the machine, put everything on the bus and take its name.

        Raises:
            BusyError: another daemon has the name.
            NotAuthorizedError: the bus policy does not let this user have it.
        """
        [taken] = await self._connection.ask_bus("NameHasOwner", "s", names.BUS_NAME)
        if taken:
            raise BusyError(
                f"another bootd owns {names.BUS_NAME} on this bus",
                hint="One daemon a bus is enough; stop the other one first.",
            )
        recovery = await self._machine.recover()
        await self._machine.read()
        tell_of_start(self._machine.status, recovery)
        self._server.export(names.ROOT, names.MANAGER, self._manager)
        self._show()
        await self._ask_systemd()
        await self._connection.own(names.BUS_NAME)
        sysroot = self._machine.host.sysroot
        try:
            self._status_file = StatusFile(sysroot.run, sysroot.disk)
        except (StorageError, OSError) as error:
            _log.warning("the status can be asked for over the bus only: %s", error)
        self._write_status()
        self._tell_status()

    async def refresh(self) -> None:
        """Take up what changed on disk, whoever changed it."""
        if await self._machine.look():
            self._show()

    def folders(self) -> Iterator[Path]:
        """Yield the folders in which a change makes `refresh` worthwhile."""
        return self._machine.folders()

    async def schedule(self) -> None:
        """Start what is to run by itself, for ever."""
        await self._scheduler.run()

    async def reload(self) -> None:
        """Read the configuration anew; one that cannot be used leaves the last one in force."""
        await self._machine.reload()
        # First: systemd takes its time, and no property may name what has no object yet.
        self._show()
        await self._ask_systemd()
        self._scheduler.poke()

    async def stop(self) -> None:
        """Cancel the running job and wait until its child is gone."""
        await self._applier.stop()
        await self._runner.stop()
        if self._status_file is not None:
            self._status_file.close()
        if self._pending is not None:
            self._pending.cancel()

    def job_new(self, job: Job) -> None:
        """Put a job on the bus."""
        path = path_of(job)
        self._server.export(path, names.JOB, JobObject(job, self._runner, self._authority))
        self._server.emit(names.ROOT, "JobNew", job.id, path)
        self._scheduler.limit(job)

    def job_advanced(self, job: Job) -> None:
        """Publish progress, a few times a second."""
        if self._pending is None:
            loop = asyncio.get_running_loop()
            self._pending = loop.call_later(PUBLISH_SECONDS, self._publish_progress, job)

    def job_ended(self, job: Job) -> None:
        """Publish the end of a job, after all that it changed."""
        if self._pending is not None:
            self._pending.cancel()
        self._publish_progress(job)
        tell_of_job(job)
        self._scheduler.poke()
        self._server.emit(names.ROOT, "JobRemoved", job.id, path_of(job), job.state.value)
        if job.is_automatic and job.state is not JobState.CANCELLED:
            self._applier.run_ended()
        else:
            self._applier.consider()

    def job_forgotten(self, job: Job) -> None:
        """Take a job off the bus."""
        self._server.withdraw(path_of(job))

    def _publish_progress(self, job: Job) -> None:
        self._pending = None
        self._write_status()
        self._server.publish(names.ROOT)
        self._tell_status()
        # Last: who sees that a job has ended stops to listen.
        self._server.publish(path_of(job))

    async def _settle(self, job: Job, outcome: dict[str, Any] | BootdError) -> None:
        failing = self._machine.status.failing
        await self._note(job, outcome)
        await self._machine.read()
        if job.kind.looks_for_update:
            if isinstance(outcome, BootdError):
                # What a person asked for is told each time.
                is_known = failing is not None and failing.last.outcome == outcome.code
                job.is_news = not (job.is_unasked and is_known)
            elif self._machine.status.failing is None:
                job.recovered_from = failing
        self._show()
        # Whatever the job was for: a change of kernel arguments stages a deployment, too.
        if job.kind is STAGE or self._machine.status.staged is not None:
            await self._ask_systemd()

    async def _note(self, job: Job, outcome: dict[str, Any] | BootdError) -> None:
        """Remember what became of looking for an update."""
        if not job.kind.looks_for_update:
            return
        if isinstance(outcome, CancelledError) and not job.is_unasked:
            return
        found = outcome if isinstance(outcome, dict) else {}
        is_update = bool(found.get("update")) and not found.get("denied")
        try:
            job.is_news = await asyncio.to_thread(
                note_attempt,
                self._machine.host,
                job.kind.name,
                None if isinstance(outcome, dict) else outcome,
                automatic=job.is_unasked,
                user=job.requester,
                of_followed=job.request.is_of_followed,
                update=Digest(found["digest"]) if is_update else None,
            )
        except BootdError as error:
            _log.warning("what became of job %d is not remembered: %s", job.id, error.message)

    def _show(self) -> None:
        """Make the deployments' objects and the Manager follow the status.

        New objects come before the properties that name them, old ones go after.
        """
        etc = self._machine.etc
        found = {
            names.deployment_path(status.id): (status, etc.get(status.id))
            for status in self._machine.status.deployments
        }
        for path, (status, counts) in found.items():
            if path in self._deployments:
                self._deployments[path].show(status, counts)
                self._server.publish(path)
            else:
                self._deployments[path] = DeploymentObject(status, counts)
                self._server.export(path, names.DEPLOYMENT, self._deployments[path])
        self._write_status()
        self._tell_of_reboot()
        self._server.publish(names.ROOT)
        for path in self._deployments.keys() - found.keys():
            del self._deployments[path]
            self._server.withdraw(path)
        self._applier.consider()

    async def _ask_systemd(self) -> None:
        """Arm the finalization of what is staged."""
        if self._machine.live and self._machine.status.staged is not None:
            try:
                await live.arm_finalization(self._connection)
            except BootdError as error:
                _log.error("%s (%s)", error.message, error.hint)

    async def _timetable(self) -> Timetable | None:
        # A machine in a folder has no timer; a run that somebody starts there is followed up.
        return await live.timetable(self._connection) if self._machine.live else Timetable()

    def _show_plan(self) -> None:
        plan = self._scheduler.plan
        self._manager.next_run = None if plan is None else NextRun(when=plan.when, why=plan.why)
        self._write_status()
        self._server.publish(names.ROOT)

    def _tell_of_reboot(self) -> None:
        try:
            show_reboot_required(self._machine.host.sysroot, self._machine.status)
        except StorageError as error:
            _log.warning("other programs are not told of the restart: %s", error.message)

    def _write_status(self) -> None:
        if self._status_file is None:
            return
        try:
            self._status_file.write(self._manager.status_json())
        except StorageError as error:
            # An old one must not be taken for the newest.
            _log.warning("the status can be asked for over the bus only: %s", error.message)
            self._status_file.close()
            self._status_file = None

    def _tell_status(self) -> None:
        job = self._runner.running
        if job is None:
            text = f"{self._machine.status.state.value}: {self._machine.status.image or 'no image'}"
        else:
            text = f"{job.kind.name}: {job.step.phase or 'starting'}, {job.step.overall:.0%}"
        self._service_manager.status(text)
