"""Restarting into an update when nobody asks for it: as soon as every gate lets it pass.

That is tried at the end of each automatic run, whatever became of the run itself, and while there
are maintenance windows at any time in one. What was put off is tried again at the time that a gate
names, and when logind tells that something else inhibits; a time to try again, which grows, sees to
the rest. What a person made boot next is never restarted into.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from bootd.daemon.dbus import names
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.wire import IncomingSignal, RemoteError
from bootd.daemon.event_loop import asyncio
from bootd.daemon.events.journal import announce
from bootd.daemon.jobs import JobRunner
from bootd.daemon.machine import Machine
from bootd.daemon.unattended.wake_timer import WakeTimer
from bootd.model.config import Automatic
from bootd.model.errors import BootdError, BusyError
from bootd.model.event import Event
from bootd.model.gate import Answer, GateVerdict
from bootd.policy.gate import View, ask_gates, in_the_way
from bootd.policy.zone import machine_zone

_log = logging.getLogger(__name__)

_FIRST_TRY_SECONDS: Final = 5
_LAST_TRY_SECONDS: Final = 300
_ASK_SECONDS: Final = 5.0
"""How long a service may take to answer a gate."""
_LOGIND: Final = "org.freedesktop.login1"
_LOGIND_PATH: Final = "/org/freedesktop/login1"


class Applier:
    """Restarts the machine when that is due.

    Args:
        connection: the system bus.
        machine: what is looked after.
        runner: where jobs run; none of a person's is cut off.
        reboot: restarts the machine.

    Attributes:
        put_off: what was in the way when it was tried last; None: nothing, or it is not wanted.
    """

    def __init__(
        self,
        connection: Connection,
        machine: Machine,
        runner: JobRunner,
        reboot: Callable[[], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._machine = machine
        self._runner = runner
        self._reboot = reboot
        self._due = False
        self._tries = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: WakeTimer | None = None
        self._logind: str | None = None
        self.put_off: GateVerdict | None = None

    def run_ended(self) -> None:
        """Take up that an automatic run has ended."""
        self._due = True
        self.consider()

    def consider(self) -> None:
        """Try, soon, if there is reason to: something has changed."""
        if not self._is_wanted():
            self._forget()
            return
        self._news.set()
        if self._task is None:
            self._timer = WakeTimer(lambda _clock_was_set: self._news.set())
            self._task = asyncio.get_running_loop().create_task(self._try_again_and_again())

    async def stop(self) -> None:
        """Try no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._timer is not None:
            self._timer.close()

    async def verdicts(self) -> list[GateVerdict]:
        """Return what each gate says now."""
        host = self._machine.host
        view = View(
            status=self._machine.status,
            configuration=host.configuration,
            now=host.clock.now(),
            zone=await asyncio.to_thread(machine_zone, self._machine.directory),
            ask=partial(self._connection.call, timeout=_ASK_SECONDS),
            root=self._machine.directory or Path("/"),
        )
        return await ask_gates(view)

    def _is_wanted(self) -> bool:
        status, settings = self._machine.status, self._machine.host.configuration
        by_hand = status.staged is None and status.queued_by_hand
        # A shutdown that failed is tried again once a night, and not for as long as a window lasts.
        in_windows = bool(settings.apply.windows) and status.finalize_failure is None
        return (
            (self._due or in_windows)
            and self._machine.live
            # Otherwise a machine whose boot order is overridden would restart every night.
            and status.reboot_helps
            and not by_hand
            and settings.automatic is Automatic.APPLY
        )

    def _forget(self) -> None:
        self._due = False
        self._tries = 0
        self.put_off = None

    async def _try_again_and_again(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._try()
            except Exception:  # noqa: BLE001 - the daemon is there for more than this
                _log.exception("whether to restart could not be found out")

    async def _try(self) -> None:
        running = self._runner.running
        if not self._is_wanted() or (running is not None and not running.gives_way):
            return
        # A run that ends meanwhile makes it due anew.
        due, self._due = self._due, False
        verdict = in_the_way(await self.verdicts())
        if verdict is None:
            verdict = await self._restart()
        if verdict is not None and verdict.answer is Answer.LATER:
            self._due = self._due or due
        self._tell(verdict)
        await self._plan(verdict)

    async def _restart(self) -> GateVerdict | None:
        """Restart; return what logind, or whoever it asks, says to that."""
        try:
            await self._reboot()
        except BusyError as error:
            return GateVerdict(gate="logind", answer=Answer.LATER, reason=error.message)
        except BootdError as error:
            return GateVerdict(gate="logind", answer=Answer.NO, reason=error.message)
        return None

    def _tell(self, verdict: GateVerdict | None) -> None:
        known, self.put_off = self.put_off, verdict
        if verdict is None:
            if known is not None:
                _log.info("the machine restarts, which was put off: %s", known.reason)
            return
        if known is None or (known.gate, known.reason) != (verdict.gate, verdict.reason):
            self._tries = 0
            status = self._machine.status
            announce(
                Event.RESTART_PUT_OFF,
                f"the update waits for a restart: {verdict.reason}",
                status.staged or status.queued or "",
                verdict.gate,
                verdict.reason,
            )

    async def _plan(self, verdict: GateVerdict | None) -> None:
        assert self._timer is not None
        if verdict is None or verdict.answer is Answer.NO:
            self._timer.set(None)
            return
        if verdict.until is not None:
            self._timer.set(verdict.until)
            return
        seconds = min(_FIRST_TRY_SECONDS << min(self._tries, 10), _LAST_TRY_SECONDS)
        self._tries += 1
        self._timer.set(self._machine.host.clock.now() + timedelta(seconds=seconds))
        await self._hear_logind()

    async def _hear_logind(self) -> None:
        """Hear from now on when something else inhibits: ``BlockInhibited`` changes."""
        if self._logind is not None:
            return
        rule = (
            f"type='signal',sender='{_LOGIND}',path='{_LOGIND_PATH}',"
            f"interface='{names.PROPERTIES}',member='PropertiesChanged'"
        )
        try:
            await self._connection.ask_bus("AddMatch", "s", rule)
            [self._logind] = await self._connection.ask_bus("GetNameOwner", "s", _LOGIND)
        except RemoteError as error:
            _log.debug("logind does not tell what inhibits: %s", error.message)
            return
        others = self._connection.heeds
        self._connection.heeds = lambda sender: others(sender) or sender == self._logind
        self._connection.listen(self._heard)

    def _heard(self, signal: IncomingSignal) -> None:
        if (signal.sender, signal.member) == (self._logind, "PropertiesChanged"):
            self.consider()
