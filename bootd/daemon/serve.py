"""What the daemon does from its start to its end."""

from __future__ import annotations

import logging
import signal
from contextlib import closing
from pathlib import Path
from typing import Final

from bootd.daemon.dbus.bus import Connection
from bootd.daemon.event_loop import asyncio
from bootd.daemon.events.notify import ServiceManager, watchdog_interval
from bootd.daemon.folder_watch import FolderWatch
from bootd.daemon.machine import Machine
from bootd.daemon.service import Service
from bootd.startup import freeze_modules, give_memory_back

_log = logging.getLogger(__name__)

_SETTLE_SECONDS: Final = 0.2
"""How long changes on disk are left to come together before the daemon looks."""
_LOOK_SECONDS: Final = 300.0
"""How long a change may go unseen of which the kernel did not tell."""


async def serve(sysroot: Path | None, address: str | None) -> bool:
    """Serve until told to end, or until the bus is lost; return whether it was.

    Args:
        sysroot: the machine, if it lies in a folder.
        address: the message bus; None for the usual one.

    Raises:
        BootdError: it could not begin, or not go on.
    """
    service_manager = ServiceManager()
    machine = Machine(sysroot)
    connection = await Connection.open(address)
    try:
        service = Service(connection, machine, service_manager)
        loop = _Loop(service, service_manager)
        await service.start()
        freeze_modules(collect=True)
        service_manager.ready()
        lost = await loop.run(connection)
        service_manager.stopping()
        await service.stop()
    finally:
        await connection.close()
    if lost:
        _log.error("the connection to the message bus is lost")
    return lost


class _Loop:
    """What goes on until the end: signs of life, a look at the disk, signals.

    Signals are taken up from the start, so that none kills a daemon that is about to be ready.
    """

    def __init__(self, service: Service, service_manager: ServiceManager) -> None:
        self._service = service
        self._service_manager = service_manager
        self._told_to_end = asyncio.Event()
        self._told_to_reload = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_end.set)
        loop.add_signal_handler(signal.SIGHUP, self._told_to_reload.set)

    async def run(self, connection: Connection) -> bool:
        """Return at the end: True if that is because the bus was lost."""
        loop = asyncio.get_running_loop()
        lost = loop.create_task(connection.closed())
        ends = {lost, loop.create_task(self._told_to_end.wait())}
        duties = {
            loop.create_task(duty)
            for duty in (
                self._reload(),
                self._look(),
                self._sign_of_life(),
                self._service.schedule(),
            )
        }
        try:
            await asyncio.wait(ends | duties, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends | duties:
                task.cancel()
        results = await asyncio.gather(*duties, return_exceptions=True)
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise failures[0]
        return lost.done() and not self._told_to_end.is_set()

    async def _reload(self) -> None:
        while True:
            await self._told_to_reload.wait()
            self._told_to_reload.clear()
            self._service_manager.reloading()
            await self._service.reload()
            self._service_manager.ready()

    async def _look(self) -> None:
        with closing(FolderWatch()) as folders:
            while True:
                # Watched first: what comes after the look is heard of.
                folders.watch(self._service.folders())
                await self._service.refresh()
                give_memory_back()
                await folders.wait(_LOOK_SECONDS)
                await asyncio.sleep(_SETTLE_SECONDS)

    async def _sign_of_life(self) -> None:
        interval = watchdog_interval()
        while True:
            self._service_manager.alive()
            await asyncio.sleep(interval or _LOOK_SECONDS)
