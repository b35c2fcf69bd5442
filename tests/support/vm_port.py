"""The host's two lines to a virtual machine: to ``vm_agent.py`` inside of it, and to QEMU (QMP)."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

StillThere = Callable[[], None]
"""Fails the test if QEMU is gone, so that nobody waits for it."""


class Line:
    """A connection to a UNIX socket that QEMU opens, read line by line."""

    def __init__(self, path: Path, still_there: StillThere) -> None:
        self.path = path
        self._still_there = still_there
        self._socket: socket.socket | None = None
        self._received = b""

    def connect(self) -> None:
        """Wait until QEMU opens the socket."""
        self._received = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(1.0)
        for _ in range(200):
            with suppress(FileNotFoundError, ConnectionRefusedError):
                self._socket.connect(str(self.path))
                return
            self._still_there()
            time.sleep(0.1)
        pytest.fail(f"QEMU does not open {self.path}")

    def close(self) -> None:
        """Hang up; QEMU makes the socket anew when it is started again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.path.unlink(missing_ok=True)

    def send(self, line: bytes) -> None:
        """Send one line, given without its end."""
        assert self._socket is not None
        self._socket.sendall(line + b"\n")

    def await_line(self, wanted: Callable[[bytes], bool], what: str, seconds: float) -> bytes:
        """Return the first line that is `wanted`; others are dropped."""
        assert self._socket is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            line, newline, rest = self._received.partition(b"\n")
            if newline:
                self._received = rest
                if wanted(line):
                    return line
                continue
            with suppress(TimeoutError):
                self._received += self._socket.recv(65536)
            self._still_there()
        pytest.fail(f"no {what} within {seconds:.0f} s")


class Agent(Line):
    """Runs commands in the machine."""

    _number = 0

    def await_boot(self, seconds: float) -> str:
        """Wait until the machine, once (re)booted, is there; return the version that runs."""
        line = self.await_line(lambda line: line.startswith(b"ready "), "sign of a boot", seconds)
        return line.split()[2].decode()

    def ask(self, command: str, seconds: float) -> tuple[int, str]:
        """Run a shell command; return its exit status and what it printed, errors included."""
        self._number += 1
        self.send(b"run %d %s" % (self._number, base64.b64encode(command.encode())))
        start = b"done %d " % self._number
        line = self.await_line(lambda line: line.startswith(start), f"end of {command!r}", seconds)
        _, _, status, output = line.split()
        return int(status), base64.b64decode(output).decode(errors="replace")


class Monitor(Line):
    """QEMU's own commands (QEMU Machine Protocol)."""

    _SECONDS = 120.0

    def connect(self) -> None:
        """Connect, and leave the mode in which QMP only negotiates."""
        super().connect()
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Return what a command answers; events in between are dropped."""
        self.send(json.dumps({"execute": command, "arguments": arguments}).encode())

        def is_answer(line: bytes) -> bool:
            message = json.loads(line)
            if "error" in message:
                pytest.fail(f"QEMU refuses {command}: {message['error']['desc']}")
            return "return" in message

        line = self.await_line(is_answer, f"answer to {command}", self._SECONDS)
        return json.loads(line)["return"]
