"""What the service manager is told (sd_notify(3)), over its datagram socket."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from typing import Final

from bootd.clock import SYSTEM_CLOCK, Clock

_log = logging.getLogger(__name__)

_SOCKET_VARIABLE: Final = "NOTIFY_SOCKET"
_WATCHDOG_VARIABLE: Final = "WATCHDOG_USEC"
_WATCHDOG_PROCESS_VARIABLE: Final = "WATCHDOG_PID"
_MICROSECONDS: Final = 1_000_000


class ServiceManager:
    """The service manager; silent where there is none."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._address = os.environ.get(_SOCKET_VARIABLE, "")

    def ready(self) -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        microseconds = int(self._clock.monotonic() * _MICROSECONDS)
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """The daemon is about to end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send("STATUS=" + text.replace("\n", " "))

    def alive(self) -> None:
        """The main loop still turns."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # An address that starts with @ is in the abstract namespace, whose names start with NUL.
        abstract = self._address.startswith("@")
        address = "\0" + self._address[1:] if abstract else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
            datagrams.setblocking(False)
            try:
                datagrams.sendto("\n".join(lines).encode(), address)
            except OSError as error:
                _log.warning("the service manager could not be told %s: %s", lines[0], error)


def watchdog_interval() -> float | None:
    """Return seconds between two signs of life, half of what is allowed; None: nobody watches."""
    if os.environ.get(_WATCHDOG_PROCESS_VARIABLE, str(os.getpid())) != str(os.getpid()):
        return None
    with suppress(ValueError):
        microseconds = int(os.environ.get(_WATCHDOG_VARIABLE, ""))
        if microseconds > 0:
            return microseconds / _MICROSECONDS / 2
    return None
