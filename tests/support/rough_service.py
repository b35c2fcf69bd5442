"""A service of our server code that behaves badly on request, run as a program of its own.

``Cancel`` of its one job raises an error that nobody foresaw; SIGUSR1 makes it send 2,000 signals
of 4,000 bytes at once.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

from bootd.daemon.dbus import interfaces, names
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.server import Handler, ObjectServer
from bootd.daemon.dbus.wire import IncomingCall

BURST = 2_000
SIZE = 4_000
PATH = names.JOBS + "1"
_EMPTY: dict[str, Any] = {"s": "", "u": 0, "t": 0, "d": 0.0, "(sss)": ["", "", ""]}


class RoughJob:
    """A job whose Cancel has a bug."""

    def properties(self, _reader: int | None = None) -> Mapping[str, Any]:
        known = interfaces.load(names.JOB).properties
        return {name: _EMPTY[found.signature] for name, found in known.items()}

    def methods(self) -> Mapping[str, Handler]:
        return {"Cancel": self._cancel}

    async def _cancel(self, call: IncomingCall, options: Mapping[str, Any]) -> None:
        raise RuntimeError(f"/a/secret/path {call} {options}")


async def _serve() -> None:
    connection = await Connection.open()
    ObjectServer(connection).export(PATH, names.JOB, RoughJob())

    def burst() -> None:
        for number in range(BURST):
            text = f"{number} ".ljust(SIZE, "x")
            connection.emit(PATH, "org.bootd1.Test.Noise", "s", text)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, burst)
    await connection.own(names.BUS_NAME)
    await connection.closed()


if __name__ == "__main__":
    asyncio.run(_serve())
