"""The object of the machine: org.bootd1.Manager.

Every method checks its arguments, then asks polkit, then acts. Properties only show what `Machine`
and `JobRunner` know, so reading them never waits.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from bootd import __version__
from bootd.daemon.dbus import names
from bootd.daemon.dbus.options import take_options
from bootd.daemon.dbus.polkit import Action, Authority
from bootd.daemon.dbus.privacy import for_anybody
from bootd.daemon.dbus.property_values import available_value, fallback_value, last_check_value
from bootd.daemon.dbus.server import Handler
from bootd.daemon.dbus.wire import IncomingCall
from bootd.daemon.event_loop import asyncio
from bootd.daemon.explain import explain
from bootd.daemon.jobs import Job, JobRunner
from bootd.daemon.machine import Machine
from bootd.daemon.unattended.applying import Applier
from bootd.daemon.unattended.checked import checked, checked_list, checked_reference, checked_words
from bootd.daemon.unattended.times import from_microseconds, microseconds
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
from bootd.operations.machine import staged
from bootd.operations.machine.attempts import history
from bootd.operations.status import with_drift
from bootd.operations.trial import deny
from bootd.startup import later

with later():
    # The merge of /etc, archives, and what cleans up: two megabytes that few daemons ever need.
    from bootd.operations import etc_copies, etc_views
    from bootd.operations.boot import usage as boot_usage

_STATE_OF_PHASE: Final = {
    "resolving": UpgradeState.CHECKING,
    "pulling": UpgradeState.PULLING,
    "composing": UpgradeState.COMPOSING,
    "staging": UpgradeState.COMPOSING,
    "finalizing": UpgradeState.FINALIZING,
}

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
        """Return the handlers."""
        return {
            "Check": self._check,
            "Upgrade": self._upgrade,
            "Switch": self._switch,
            "Stage": self._stage,
            "Unstage": self._unstage,
            "Finalize": self._finalize,
            "Rollback": self._rollback,
            "Apply": self._apply,
            "Pin": self._pin,
            "Unpin": self._unpin,
            "Cleanup": self._cleanup,
            "Forget": self._forget,
            "GetBootUsage": self._get_boot_usage,
            "ChangeKernelArguments": self._change_kernel_arguments,
            "Fsck": self._fsck,
            "PreviewEtc": self._preview_etc,
            "EtcConflicts": self._etc_conflicts,
            "EtcDiff": self._etc_diff,
            "GetEtcVersions": self._get_etc_versions,
            "ResolveEtc": self._resolve_etc,
            "ResetEtc": self._reset_etc,
            "ListEtcCopies": self._list_etc_copies,
            "RestoreEtc": self._restore_etc,
            "ListDenied": self._list_denied,
            "Allow": self._allow,
            "Hold": self._hold,
            "Release": self._release,
            "Explain": self._explain,
            "GetHistory": self._get_history,
            "GetStatus": self._get_status,
        }

    async def _check(self, call: IncomingCall, options: _Options) -> str:
        take_options(options)
        return self._start("check", {}, await self._authority.require(call, Action.CHECK))

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
            details = {"image": checked_reference(taken_from)}
            user = await self._authority.require(call, Action.SWITCH, details)
            return self._start("stage", {"taken_from": taken_from}, user)
        if given.get("allow_downgrade", False):
            # An old release may have holes that are known since; not everybody may bring it back.
            details = {"image": self._machine.status.image or ""}
            user = await self._authority.require(call, Action.SWITCH, details)
        else:
            user = await self._authority.require(call, Action.STAGE)
        if not given.get("automatic", False):
            return self._start("stage", given, user)
        if when_due:
            await self.require_due(user)
        return _path_of(self.start_automatic(user, given))

    def start_automatic(self, user: int, given: _Options | None = None) -> Job:
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
            return self._runner.start("check", {}, user, for_the_timer=True)
        return self._runner.start("stage", given or {"automatic": True}, user)

    async def _switch(self, call: IncomingCall, reference: str, options: _Options) -> str:
        take_options(options)
        details = {"image": checked_reference(reference)}
        user = await self._authority.require(call, Action.SWITCH, details)
        return self._start("stage", {"reference": reference, "remember": True}, user)

    async def _stage(self, call: IncomingCall, reference: str, options: _Options) -> str:
        take_options(options)
        details = {"image": checked_reference(reference)}
        user = await self._authority.require(call, Action.SWITCH, details)
        return self._start("stage", {"reference": reference}, user)

    async def _unstage(self, call: IncomingCall, options: _Options) -> None:
        take_options(options)
        await self._authority.require(call, Action.STAGE)
        await self._change(staged.unstage)

    async def _finalize(self, call: IncomingCall, options: _Options) -> str:
        take_options(options)
        user = await self._authority.require(call, Action.APPLY)
        return self._start("finalize", {"asked": True}, user)

    async def _rollback(self, call: IncomingCall, options: _Options) -> str:
        given = take_options(options, deployment=str, carry_etc=bool)
        target = given.pop("deployment", None)
        arguments = given if target is None else {**given, "target": DeploymentId(target)}
        user = await self._authority.require(call, Action.ROLLBACK, {"deployment": target or ""})
        return self._start("rollback", arguments, user)

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
            raise BusyError(f"job {running.id} ({running.kind}) is running")

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

    async def _cleanup(self, call: IncomingCall, options: _Options) -> str:
        take_options(options)
        return self._start("collect", {}, await self._authority.require(call, Action.CLEANUP))

    async def _forget(self, call: IncomingCall, deployment: str, options: _Options) -> str:
        take_options(options)
        arguments = {"deployment": DeploymentId(deployment)}
        return self._start(
            "forget", arguments, await self._authority.require(call, Action.FORGET, arguments)
        )

    async def _get_boot_usage(self, call: IncomingCall, options: _Options) -> str:
        take_options(options)
        await self._authority.require(call, Action.INSPECT)
        document = await asyncio.to_thread(self._machine.look_at_boot, boot_usage.boot_usage)
        return document.model_dump_json()

    async def _change_kernel_arguments(
        self, call: IncomingCall, verb: str, words: list[str], options: _Options
    ) -> str:
        given = take_options(options, source=str)
        arguments = {"verb": checked(verb, "verb"), "words": checked_words(words), **given}
        details = {"source": given.get("source", "")}
        user = await self._authority.require(call, Action.CHANGE_KERNEL_ARGUMENTS, details)
        return self._start("change-kernel-arguments", arguments, user)

    async def _fsck(self, call: IncomingCall, options: _Options) -> str:
        arguments = take_options(options, repair=bool)
        return self._start("fsck", arguments, await self._authority.require(call, Action.FSCK))

    async def _preview_etc(self, call: IncomingCall, options: _Options) -> str:
        digest = take_options(options, digest=str).get("digest")
        arguments = {} if digest is None else {"digest": Digest(digest)}
        # What is not there yet is fetched, which takes room.
        action = Action.INSPECT if digest is None else Action.STAGE
        return self._start("preview", arguments, await self._authority.require(call, action))

    async def _etc_conflicts(self, call: IncomingCall, options: _Options) -> str:
        return await self._look_at(call, options, etc_views.conflicts)

    async def _etc_diff(self, call: IncomingCall, options: _Options) -> str:
        return await self._look_at(call, options, etc_views.diff)

    async def _get_etc_versions(self, call: IncomingCall, path: str, options: _Options) -> str:
        return await self._look(call, options, etc_views.versions, checked(path, "path"))

    async def _list_etc_copies(self, call: IncomingCall, options: _Options) -> str:
        return await self._look(call, options, etc_copies.copies)

    async def _resolve_etc(
        self, call: IncomingCall, path: str, choice: str, options: _Options
    ) -> str:
        given = take_options(options, content=str, also=list, dry_run=bool)
        details = {"path": checked(path, "path")}
        if "also" in given:
            given["also"] = checked_list(given["also"])
        user = await self._may_change_etc(call, given, details)
        arguments = {"path": path, "choice": checked(choice, "choice"), **given}
        return self._start("etc-resolve", arguments, user)

    async def _reset_etc(self, call: IncomingCall, paths: list[str], options: _Options) -> str:
        given = take_options(options, dry_run=bool)
        details = {"path": checked_list(paths)[0]}
        user = await self._may_change_etc(call, given, details)
        return self._start("etc-reset", {"paths": paths, **given}, user)

    async def _restore_etc(
        self, call: IncomingCall, copy: str, paths: list[str], options: _Options
    ) -> str:
        given = take_options(options, dry_run=bool)
        details = {"copy": checked(copy, "copy")}
        user = await self._may_change_etc(call, given, details)
        arguments = {"copy": copy, "paths": checked_list(paths) if paths else [], **given}
        return self._start("etc-restore", arguments, user)

    async def _may_change_etc(
        self, call: IncomingCall, given: Mapping[str, Any], details: Mapping[str, str]
    ) -> int:
        """Return the caller's user ID; who only wants to know what would happen looks."""
        action = Action.INSPECT if given.get("dry_run") else Action.CHANGE_ETC
        return await self._authority.require(call, action, details)

    async def _look_at(
        self, call: IncomingCall, options: _Options, view: Callable[..., BaseModel]
    ) -> str:
        """Answer a view that may be of some paths alone."""
        given = take_options(options, paths=list)
        paths = checked_list(given["paths"]) if given.get("paths") else []
        return await self._look(call, {}, view, paths)

    async def _look(
        self,
        call: IncomingCall,
        options: _Options,
        view: Callable[..., BaseModel],
        *arguments: str | list[str],
    ) -> str:
        take_options(options)
        await self._authority.require(call, Action.INSPECT)
        document = await asyncio.to_thread(view, self._machine.host, *arguments)
        return document.model_dump_json()

    async def _list_denied(self, call: IncomingCall, options: _Options) -> str:
        take_options(options)
        document = await asyncio.to_thread(deny.denied, self._machine.host)
        return await self._readable(call, document)

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
        status, host = self._status(), self._machine.host
        denied = (await asyncio.to_thread(deny.denied, host)).denied
        digest = None if status.available is None else status.available.digest
        denial = next((found for found in denied if found.digest == digest), None)
        document = explain(status, denial, host.configuration.automatic)
        put_off = self._applier.put_off
        changes: dict[str, Any] = {"gates": await self._applier.verdicts()}
        if put_off is not None:
            changes["put_off"] = put_off.reason
        document = document.model_copy(update=changes)
        return await self._readable(call, document)

    async def _get_history(self, call: IncomingCall, options: _Options) -> str:
        take_options(options)
        document = await asyncio.to_thread(history, self._machine.host)
        return await self._readable(call, document.model_copy(update={"next_run": self.next_run}))

    async def _get_status(self, call: IncomingCall, options: _Options) -> str:
        take_options(options)
        await self._refresh()
        status = self._status()
        if await self._authority.user(call) == 0:
            status = await asyncio.to_thread(with_drift, self._machine.host, status)
        return await self._readable(call, status)

    async def _readable(self, call: IncomingCall, document: BaseModel) -> str:
        """Return a document as its caller may read it; nobody is asked for a password for more."""
        whole = document.model_dump(mode="json")
        public = for_anybody(whole)
        if public != whole and await self._authority.allows(call, Action.INSPECT):
            return _compact(whole)
        return _compact(public)

    def status_json(self) -> str:
        """Return the status as any user may know it, with what a running job makes of it."""
        return _compact(for_anybody(self._status().model_dump(mode="json")))

    def _status(self) -> StatusDocument:
        news = {"state": UpgradeState(self._state()), "next_run": self.next_run}
        return self._machine.status.model_copy(update=news)

    def _start(self, kind: str, arguments: Mapping[str, Any], user: int) -> str:
        return _path_of(self._runner.start(kind, arguments, user))

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
        return _STATE_OF_PHASE.get(phase, self._machine.status.state).value

    def _path(self, identifier: DeploymentId | None) -> str:
        known = {deployment.id for deployment in self._machine.status.deployments}
        return names.deployment_path(identifier if identifier in known else None)


async def _never_due(_user: int) -> None:
    raise NotDueError("no run is planned")


def _path_of(job: Job) -> str:
    return f"{names.JOBS}{job.id}"


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
