"""A socket to a message bus: authentication, and messages as bytes in both directions.

Source: D-Bus specification, "Server Addresses", "Unix Domain Sockets" and "Authentication
Protocol". File descriptors are not negotiated, so the bus refuses messages with them and none can
leak.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self
from urllib.parse import unquote_to_bytes

from bootd.daemon.dbus.framing import Framer, Header
from bootd.daemon.event_loop import asyncio
from bootd.model.errors import BootdError

_PIECE: Final = 64 << 10
_PIECES: Final = 8
"""Read in one go; then others have their turn."""
_LONGEST_LINE: Final = 16 << 10
_AUTHENTICATED: Final = b"OK "


class Transport:
    """An authenticated connection; it reads from `start` on."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._framer: Framer | None = None
        self._take: Callable[[Header, bytes], None] | None = None
        self._queue: deque[memoryview] = deque()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        """Done when the connection is lost; the result says why."""

    @classmethod
    async def open(cls, address: str) -> Self:
        """Connect to the first server of an address that answers.

        Raises:
            OSError, EOFError: none does, or it turned us away.
            ValueError: the address has no server that can be reached.
        """
        problem: OSError | EOFError | None = None
        for place in _places(address):
            connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                connected.setblocking(False)
                await asyncio.get_running_loop().sock_connect(connected, place)
                await _authenticate(connected)
            except (OSError, EOFError) as error:
                connected.close()
                problem = error
            except BaseException:
                connected.close()
                raise
            else:
                return cls(connected)
        raise problem or ValueError("the address names no server")

    def start(
        self, wanted: Callable[[Header], bool], take: Callable[[Header, bytes], None]
    ) -> None:
        """Read from now on.

        Args:
            wanted: tells by a header whether a message is to be read whole.
            take: is given each that is.
        """
        self._framer, self._take = Framer(wanted), take
        self._loop.add_reader(self._socket, self._readable)

    @property
    def connected(self) -> bool:
        """Whether messages can be sent."""
        return not self.closed.done()

    def send(self, message: bytes | bytearray) -> None:
        """Send a message, at once or when there is room; none once the connection is lost."""
        if not self.connected:
            return
        self._queue.append(memoryview(message))
        if len(self._queue) == 1:
            self._writable()

    def close(self) -> None:
        """Disconnect."""
        self._lost("closed")
        self._socket.close()

    def _readable(self) -> None:
        assert self._framer is not None
        assert self._take is not None
        try:
            for _ in range(_PIECES):
                data = self._socket.recv(_PIECE)
                if not data:
                    self._lost("the bus hung up")
                    return
                for header, message in self._framer.feed(data):
                    self._take(header, message)
        except BlockingIOError:
            return
        except (OSError, BootdError) as error:
            self._lost(str(error))

    def _writable(self) -> None:
        try:
            while self._queue:
                sent = self._socket.send(self._queue[0])
                self._queue[0] = self._queue[0][sent:]
                if not self._queue[0]:
                    self._queue.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._writable)
        except OSError as error:
            self._lost(str(error))
        else:
            self._loop.remove_writer(self._socket)

    def _lost(self, why: str) -> None:
        if not self.closed.done():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._queue.clear()
            self.closed.set_result(why)


def _places(address: str) -> list[bytes]:
    """Return the sockets that an address names; abstract ones begin with a NUL."""
    found = []
    for server in address.split(";"):
        transport, _, rest = server.partition(":")
        values = dict(pair.partition("=")[::2] for pair in rest.split(","))
        if transport == "unix" and values.get("path"):
            found.append(unquote_to_bytes(values["path"]))
        elif transport == "unix" and values.get("abstract"):
            found.append(b"\0" + unquote_to_bytes(values["abstract"]))
    if not found:
        raise ValueError("it names no unix:path= or unix:abstract=")
    return found


async def _authenticate(connected: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    identity = str(os.getuid()).encode().hex().encode()
    await loop.sock_sendall(connected, b"\0AUTH EXTERNAL " + identity + b"\r\n")
    answer = b""
    while not answer.endswith(b"\r\n"):
        data = await loop.sock_recv(connected, 1 << 10)
        if not data or len(answer) > _LONGEST_LINE:
            raise EOFError("it hung up while it was told who we are")
        answer += data
    if not answer.startswith(_AUTHENTICATED):
        with suppress(UnicodeDecodeError):
            raise PermissionError(f"it does not know this user: {answer.decode('ascii').strip()}")
        raise PermissionError("it does not know this user")
    await loop.sock_sendall(connected, b"BEGIN\r\n")
