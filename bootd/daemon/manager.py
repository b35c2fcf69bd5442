"""The object of the machine: org.bootd1.Manager.

Every method checks its arguments, then asks polkit, then acts. Properties only show what `Machine`
and `JobRunner` know, so reading them never waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bootd import __version__
from bootd.daemon.dbus import names
from bootd.daemon.dbus.options import take_options
from bootd.daemon.dbus.polkit import Authority
from bootd.daemon.dbus.privacy import for_anybody
from bootd.daemon.dbus.property_values import available_value, fallback_value, last_check_value
from bootd.daemon.dbus.server import Handler
from bootd.daemon.dbus.wire import IncomingCall
from bootd.daemon.event_loop import asyncio
from bootd.daemon.jobs import Job, JobRunner
from bootd.daemon.machine import Machine
from bootd.daemon.requests import Requests, compact, path_of
from bootd.daemon.unattended.applying import Applier
from bootd.daemon.unattended.times import from_microseconds, microseconds
from bootd.model.action import Action
from bootd.model.attempts import NextRun
from bootd.model.config import Automatic
from bootd.model.deployment import DeploymentId
from bootd.model.digest import Digest
from bootd.model.documents import StatusDocument
from bootd.model.errors import (
    BootdError,
    BusyError,
    HeldError,
    InvalidArgumentError,
    NotDueError,
    NothingStagedError,
    NotTheRunningMachineError,
)
from bootd.model.state import UpgradeState
from bootd.operations import hold, pin
from bootd.operations.explain import explain_status
from bootd.operations.jobs.request import NoArguments, checked, make_request
from bootd.operations.jobs.table import CHECK, FINALIZE, STAGE, FinalizeRequest, StageRequest
from bootd.operations.machine import staged
from bootd.operations.machine.attempts import history
from bootd.operations.progress import STATES
from bootd.operations.status import with_drift
from bootd.operations.trial import deny

_Options = Mapping[str, Any]


class ManagerObject:
    """The machine as the bus sees it.

    Args:
        machine: what is known of it.
        runner: where jobs are started.
        authority: who is asked for leave.
        refresh: awaited after a quick change, so that its news come before the reply.
        reboot: reboots the live host.
        applier: knows what is in the way of a restart that nobody asks for.

    Attributes:
        next_run: the next automatic run; None: none is planned.
        require_due: given a user ID; raises unless an automatic run is due.
    """

    def __init__(
        self,
        machine: Machine,
        runner: JobRunner,
        authority: Authority,
        *,
        refresh: Callable[[], Awaitable[None]],
        reboot: Callable[[], Awaitable[None]],
        applier: Applier,
    ) -> None:
        self._machine = machine
        self._runner = runner
        self._authority = authority
        self._refresh = refresh
        self._reboot = reboot
        self._applier = applier
        self._requests = Requests(machine, runner, authority)
        self._changing = asyncio.Lock()
        self.next_run: NextRun | None = None
        self.require_due: Callable[[int], Awaitable[None]] = _never_due

    def properties(self, _reader: int | None = None) -> Mapping[str, Any]:
        """Return the property values."""
        status = self._machine.status
        return {
            "Booted": self._path(status.booted),
            "Staged": self._path(status.staged),
            "Queued": self._path(status.queued),
            "Rollback": self._path(status.rollback),
            "Image": status.image or "",
            "State": self._state(),
            "RebootRequired": status.reboot_required,
            "Available": available_value(status.available),
            "LastCheck": last_check_value(status.available),
            "HeldBy": status.held_by or "",
            "HeldUntil": 0 if status.held_until is None else microseconds(status.held_until),
            "LastFallback": fallback_value(status.last_fallback),
            "NextCheck": 0 if self.next_run is None else microseconds(self.next_run.when),
            "Version": __version__,
        }

    def methods(self) -> Mapping[str, Handler]:
        """Return the handlers: of the tables of jobs and looks, and those that need more."""
        return {
            **self._requests.methods(),
            "Upgrade": self._upgrade,
            "Switch": self._switch,
            "Stage": self._stage,
            "Unstage": self._unstage,
            "Finalize": self._finalize,
            "Apply": self._apply,
            "Pin": self._pin,
            "Unpin": self._unpin,
            "Allow": self._allow,
            "Hold": self._hold,
            "Release": self._release,
            "Explain": self._explain,
            "GetHistory": self._get_history,
            "GetStatus": self._get_status,
        }

    async def _upgrade(self, call: IncomingCall, options: _Options) -> str:
        given = take_options(
            options, automatic=bool, when_due=bool, allow_downgrade=bool, **{"from": str}
        )
        when_due = given.pop("when_due", False)
        if when_due and not given.get("automatic", False):
            raise InvalidArgumentError("the option when_due goes with automatic")
        taken_from = given.pop("from", None)
        if taken_from is not None:
            if given.get("automatic", False):
                raise InvalidArgumentError("the options automatic and from exclude each other")
            request = make_request(StageRequest, {"taken_from": taken_from})
            return await self._requests.start(call, STAGE, request)
        request = make_request(StageRequest, given)
        followed = {"image": self._machine.status.image or ""} if request.allow_downgrade else {}
        user = await self._requests.require(call, STAGE, request, followed)
        if not request.automatic:
            return path_of(self._runner.start(STAGE, request, user))
        if when_due:
            await self.require_due(user)
        return path_of(self.start_automatic(user, request))

    def start_automatic(self, user: int, request: StageRequest | None = None) -> Job:
        """Start what the timer is there for, as far as the configuration lets it go.

        Raises:
            HeldError: it lets it do nothing.
            BusyError: another job runs.
        """
        policy = self._machine.host.configuration.automatic
        if policy is Automatic.OFF:
            raise HeldError(
                "automatic upgrades are switched off",
                hint="Set automatic in bootd.toml, or run 'bootctl-py upgrade' by hand.",
            )
        if policy is Automatic.CHECK:
            return self._runner.start(CHECK, NoArguments(), user, for_the_timer=True)
        return self._runner.start(STAGE, request or StageRequest(automatic=True), user)

    async def _switch(self, call: IncomingCall, reference: str, options: _Options) -> str:
        take_options(options)
        request = make_request(StageRequest, {"reference": reference, "remember": True})
        return await self._requests.start(call, STAGE, request)

    async def _stage(self, call: IncomingCall, reference: str, options: _Options) -> str:
        take_options(options)
        request = make_request(StageRequest, {"reference": reference})
        return await self._requests.start(call, STAGE, request)

    async def _unstage(self, call: IncomingCall, options: _Options) -> None:
        take_options(options)
        await self._authority.require(call, Action.STAGE)
        await self._change(staged.unstage)

    async def _finalize(self, call: IncomingCall, options: _Options) -> str:
        take_options(options)
        return await self._requests.start(call, FINALIZE, FinalizeRequest(asked=True))

    async def _apply(self, call: IncomingCall, options: _Options) -> None:
        take_options(options)
        await self._authority.require(call, Action.APPLY)
        if not self._machine.live:
            raise NotTheRunningMachineError(
                f"{self._machine.directory} is a folder, so there is nothing to reboot"
            )
        await self._refresh()
        if not self._machine.status.reboot_required:
            raise NothingStagedError(
                "nothing is staged and nothing else boots next",
                hint=self._machine.status.overridden,
            )
        self._refuse_in_a_job()
        if not self._machine.status.held_back:
            await self._reboot()
            return
        await self._change(hold.ask_for_staged)
        try:
            await self._reboot()
        except BootdError:
            await self._change(hold.hold_back_staged)
            raise

    def _refuse_in_a_job(self) -> None:
        """Refuse to restart while something is done that a person asked for."""
        running = self._runner.running
        if running is not None and not running.gives_way:
            raise BusyError(f"job {running.id} ({running.kind.name}) is running")

    async def _pin(self, call: IncomingCall, deployment: str, options: _Options) -> None:
        await self._set_pinned(call, deployment, options, pinned=True)

    async def _unpin(self, call: IncomingCall, deployment: str, options: _Options) -> None:
        await self._set_pinned(call, deployment, options, pinned=False)

    async def _set_pinned(
        self, call: IncomingCall, deployment: str, options: _Options, *, pinned: bool
    ) -> None:
        take_options(options)
        identifier = DeploymentId(deployment)
        await self._authority.require(call, Action.PIN, {"deployment": identifier})
        await self._change(pin.pin, identifier, pinned=pinned)

    async def _allow(self, call: IncomingCall, digest: str, options: _Options) -> None:
        take_options(options)
        wanted = Digest(digest)
        await self._authority.require(call, Action.ALLOW, {"digest": wanted})
        await self._change(deny.allow, wanted)

    async def _hold(self, call: IncomingCall, who: str, options: _Options) -> None:
        given = take_options(options, until=int)
        until = from_microseconds(given["until"]) if "until" in given else None
        await self._authority.require(call, Action.HOLD, {"who": checked(who, "who")})
        await self._change(hold.hold, who, until=until)
        self._runner.cancel_automatic(HeldError(f"updates are held: {who}"))

    async def _release(self, call: IncomingCall, options: _Options) -> None:
        take_options(options)
        await self._authority.require(call, Action.HOLD)
        await self._change(hold.release)

    async def _explain(self, call: IncomingCall, options: _Options) -> str:
        take_options(options)
        await self._refresh()
        status = self._status()
        document = await asyncio.to_thread(explain_status, self._machine.host, status)
        put_off = self._applier.put_off
        changes: dict[str, Any] = {"gates": await self._applier.verdicts()}
        if put_off is not None:
            changes["put_off"] = put_off.reason
        document = document.model_copy(update=changes)
        return await self._requests.readable(call, document)

    async def _get_history(self, call: IncomingCall, options: _Options) -> str:
        take_options(options)
        document = await asyncio.to_thread(history, self._machine.host)
        return await self._requests.readable(
            call, document.model_copy(update={"next_run": self.next_run})
        )

    async def _get_status(self, call: IncomingCall, options: _Options) -> str:
        take_options(options)
        await self._refresh()
        status = self._status()
        if await self._authority.user(call) == 0:
            status = await asyncio.to_thread(with_drift, self._machine.host, status)
        return await self._requests.readable(call, status)

    def status_json(self) -> str:
        """Return the status as any user may know it, with what a running job makes of it."""
        return compact(for_anybody(self._status().model_dump(mode="json")))

    def _status(self) -> StatusDocument:
        news = {"state": UpgradeState(self._state()), "next_run": self.next_run}
        return self._machine.status.model_copy(update=news)

    async def _change(
        self, operation: Callable[..., object], *arguments: object, **more: object
    ) -> None:
        try:
            async with self._changing:
                await asyncio.to_thread(self._machine.change, operation, *arguments, **more)
        finally:
            # What failed may have done a part.
            await self._refresh()

    def _state(self) -> str:
        running = self._runner.running
        phase = "" if running is None else running.step.phase
        return STATES.get(phase, self._machine.status.state).value

    def _path(self, identifier: DeploymentId | None) -> str:
        known = {deployment.id for deployment in self._machine.status.deployments}
        return names.deployment_path(identifier if identifier in known else None)


async def _never_due(_user: int) -> None:
    raise NotDueError("no run is planned")
