"""A connection between a job and a child: objects go in at one end and come out at the other.

An object comes as a whole or not at all, even if its sender is killed or stopped in the middle of
it: the kernel keeps the bounds of messages (unix(7), SOCK_SEQPACKET).
"""

from __future__ import annotations

import pickle
import socket
from contextlib import suppress
from typing import Any, Final

_MAX_MESSAGE: Final = 128 << 10
"""Bytes; the kernel takes more (socket(7), ``wmem_default``: 208 KiB)."""


class Channel:
    """One end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        """Return the open file, to wait for."""
        return self._end.fileno()

    def send(self, message: object, *, wait: bool = True) -> bool:
        """Send an object; return whether there was room for it, for which it can be waited.

        Raises:
            BrokenPipeError, ConnectionResetError: nobody is at the other end.
        """
        try:
            self._end.send(pickle.dumps(message), 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True

    def receive(self) -> list[Any]:
        """Wait for an object and return all that have come; none where no more comes."""
        return self._receive(0)

    def received(self) -> list[Any]:
        """Return the objects that have come."""
        return self._receive(socket.MSG_DONTWAIT)

    def finish(self) -> None:
        """Tell the other end that no more comes."""
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close this end."""
        self._end.close()

    def _receive(self, flags: int) -> list[Any]:
        came: list[Any] = []
        with suppress(BlockingIOError, ConnectionResetError):
            while data := self._end.recv(_MAX_MESSAGE, flags):
                came.append(pickle.loads(data))  # noqa: S301 - from a process of our own
                flags = socket.MSG_DONTWAIT
        return came
