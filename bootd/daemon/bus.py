"""The one module that knows the D-Bus library: dbus-next, else dbus-fast.

Both are used through their common low-level half (messages in, messages out); dispatch is our own
(`bootd.daemon.server`). That, and this module, mend seven faults of the libraries' service half:

* sender and flags of a call reach the handler: they are in `IncomingCall`;
* no exception reaches the library, which would send its traceback to the caller;
* a full socket does not end the connection (`_PatientSocket`);
* file descriptors are not negotiated, so the bus refuses messages with them and none can leak;
* introspection is answered with the shipped XML;
* a call without an interface is understood;
* the loss of the bus is noticed (`Connection.closed`), and ends the daemon.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, Final, Self

from bootd.daemon import names
from bootd.daemon.event_loop import asyncio, hidden
from bootd.daemon.wire import ERROR_PREFIX, IncomingCall, IncomingSignal, RemoteError, Variant
from bootd.model.errors import (
    BootdError,
    BusyError,
    DaemonUnreachableError,
    InternalError,
    NotAuthorizedError,
)

_log = logging.getLogger(__name__)

DEFAULT_ADDRESS: Final = "unix:path=/run/dbus/system_bus_socket"
LIBRARY_VARIABLE: Final = "BOOTD_DBUS_LIBRARY"
"""Names the library to use where both are installed; the tests run with either."""
_LIBRARIES: Final = ("dbus_next", "dbus_fast")
_GLIB: Final = "gi.repository"
"""What dbus-next loads where it is there: 7 MB for what nobody here uses."""

_HINT_SEPARATOR: Final = "\n"
_CALL_TIMEOUT: Final = 25.0
_DO_NOT_QUEUE: Final = 4
_PRIMARY_OWNER: Final = 1


def _load_library() -> ModuleType:
    wanted = os.environ.get(LIBRARY_VARIABLE)
    for name in _LIBRARIES if wanted is None else (wanted,):
        if name in _LIBRARIES:
            with suppress(ModuleNotFoundError), hidden(_GLIB):
                importlib.import_module(f"{name}.aio")
                return importlib.import_module(name)
    raise InternalError(
        f"no D-Bus library: {wanted or ' or '.join(_LIBRARIES)} cannot be imported",
        hint="Install python3-dbus-next.",
    )


_library: Final[Any] = _load_library()
_Kind: Final[Any] = _library.MessageType
_Flag: Final[Any] = _library.MessageFlag


class _PatientSocket:
    """A socket whose `send` says "nothing sent" when the buffer is full, instead of raising."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real

    def send(self, data: memoryview) -> int:
        try:
            return self._real.send(data)
        except BlockingIOError:
            return 0


def _wrap(value: Any) -> Any:
    if isinstance(value, Variant):
        return _library.Variant(value.signature, _wrap(value.value))
    if isinstance(value, dict):
        return {key: _wrap(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_wrap(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _unwrap(value: Any) -> Any:
    if isinstance(value, _library.Variant):
        return _unwrap(value.value)
    if isinstance(value, dict):
        return {key: _unwrap(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unwrap(item) for item in value]
    return value


def bus_address() -> str:
    """Return the system bus's address: the environment's, else the well-known one."""
    return os.environ.get(names.ADDRESS_VARIABLE) or DEFAULT_ADDRESS


class Connection:
    """A connection to a message bus.

    Attributes:
        on_call: what gets method calls that arrive; it replies itself and never raises.
    """

    def __init__(self, bus: Any) -> None:
        self._bus = bus
        self._listeners: list[Callable[[IncomingSignal], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = asyncio.get_running_loop().create_task(self._wait())
        self.on_call: Callable[[IncomingCall], Awaitable[None]] | None = None
        bus._writer.sock = _PatientSocket(bus._sock)  # noqa: SLF001 - the repair needs the inside
        bus.add_message_handler(self._received)

    @classmethod
    async def open(cls, address: str | None = None) -> Self:
        """Connect and say Hello.

        Args:
            address: a D-Bus address; None for the system bus.

        Raises:
            DaemonUnreachableError: there is no bus at the address, or it turned us away.
        """
        chosen = address or bus_address()
        bus: Any = None
        try:
            bus = _library.aio.MessageBus.__new__(_library.aio.MessageBus)
            bus.__init__(bus_address=chosen)
            async with asyncio.timeout(_CALL_TIMEOUT):
                await bus.connect()
        except (OSError, EOFError, ValueError, _library.AuthError) as error:
            _close_socket(bus)
            raise DaemonUnreachableError(
                f"no message bus answers at {chosen}: {error or type(error).__name__}",
                hint=f"Start dbus, or name another bus in {names.ADDRESS_VARIABLE}.",
            ) from error
        return cls(bus)

    @property
    def unique_name(self) -> str:
        """The name the bus gave this connection."""
        return str(self._bus.unique_name)

    def listen(self, listener: Callable[[IncomingSignal], None]) -> Callable[[], None]:
        """Call `listener` for every signal that arrives; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def call(
        self,
        destination: str,
        path: str,
        member: str,
        signature: str = "",
        *arguments: Any,
        interactive: bool = False,
        timeout: float | None = _CALL_TIMEOUT,  # noqa: ASYNC109 - it becomes the NoReply error
    ) -> list[Any]:
        """Call a method and return what it answers.

        Args:
            destination: a bus name.
            path: an object path.
            member: interface and method, joined by a dot.
            signature: of the arguments.
            arguments: the arguments.
            interactive: the user may be asked for a password.
            timeout: seconds; None waits as long as it takes.

        Raises:
            RemoteError: the other side answered with an error, or not in time.
            DaemonUnreachableError: the connection is lost.
        """
        if not self._bus.connected:
            raise _lost()
        interface, _, method = member.rpartition(".")
        message = _library.Message(
            destination=destination,
            path=path,
            interface=interface,
            member=method,
            signature=signature,
            body=_wrap(list(arguments)),
            flags=_Flag.ALLOW_INTERACTIVE_AUTHORIZATION if interactive else _Flag.NONE,
        )
        try:
            async with asyncio.timeout(timeout):
                reply = await self._bus.call(message)
        except TimeoutError as error:
            raise RemoteError(
                f"{ERROR_PREFIX}NoReply", f"{destination} did not answer {method} in {timeout:g} s"
            ) from error
        except (OSError, EOFError) as error:
            raise _lost() from error
        if reply is None:
            raise _lost()
        if reply.message_type is _Kind.ERROR:
            text = next((text for text in reply.body if isinstance(text, str)), "")
            message, _, hint = text.partition(_HINT_SEPARATOR)
            raise RemoteError(reply.error_name, message, hint=hint)
        return [_unwrap(value) for value in reply.body]

    async def ask_bus(self, member: str, signature: str = "", *arguments: Any) -> list[Any]:
        """Call a method of the bus daemon itself."""
        return await self.call(
            names.BUS_DAEMON,
            names.BUS_DAEMON_PATH,
            f"{names.BUS_DAEMON}.{member}",
            signature,
            *arguments,
        )

    async def own(self, name: str) -> None:
        """Become the one owner of a bus name.

        Raises:
            BusyError: somebody else is.
            NotAuthorizedError: the bus policy forbids it.
        """
        try:
            [reply] = await self.ask_bus("RequestName", "su", name, _DO_NOT_QUEUE)
        except RemoteError as error:
            raise NotAuthorizedError(
                f"the message bus does not let this user own {name}: {error.message}",
                hint="Run bootd as root, with its bus policy installed.",
            ) from error
        if reply != _PRIMARY_OWNER:
            raise BusyError(
                f"another bootd owns {name} on this bus",
                hint="One daemon a bus is enough; stop the other one first.",
            )

    def reply(self, call: IncomingCall, signature: str = "", *values: Any) -> None:
        """Answer a call."""
        if call.wants_reply:
            self._send(
                message_type=_Kind.METHOD_RETURN,
                destination=call.sender,
                reply_serial=call.serial,
                signature=signature,
                body=_wrap(list(values)),
            )

    def reply_error(self, call: IncomingCall, name: str, message: str, hint: str = "") -> None:
        """Answer a call with an error of one string, all that GLib's clients show.

        The hint is its second line.
        """
        text = f"{message}{_HINT_SEPARATOR}{hint}" if hint else message
        if call.wants_reply:
            self._send(
                message_type=_Kind.ERROR,
                destination=call.sender,
                reply_serial=call.serial,
                error_name=name,
                signature="s",
                body=[text],
            )

    def emit(self, path: str, member: str, signature: str = "", *values: Any) -> None:
        """Send a signal; `member` is interface and signal, joined by a dot."""
        interface, _, signal = member.rpartition(".")
        self._send(
            message_type=_Kind.SIGNAL,
            path=path,
            interface=interface,
            member=signal,
            signature=signature,
            body=_wrap(list(values)),
        )

    async def closed(self) -> None:
        """Return when the connection is lost."""
        await asyncio.shield(self._gone)

    async def close(self) -> None:
        """Disconnect; what was sent before is sent first."""
        if self._bus.connected:
            with suppress(BootdError):
                await self.ask_bus("GetId")
            self._bus.disconnect()
        await self._gone
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        _close_socket(self._bus)

    def _send(self, **fields: Any) -> None:
        message = _library.Message(**fields)
        if self._bus.connected:
            self._bus.send(message).add_done_callback(_forget)

    async def _wait(self) -> None:
        try:
            await self._bus.wait_for_disconnect()
        except Exception as error:  # noqa: BLE001 - whatever the library calls it, the bus is gone
            _log.debug("the bus is gone: %r", error)

    def _received(self, message: Any) -> bool:
        if message.message_type is _Kind.METHOD_CALL and self.on_call is not None:
            call = IncomingCall(
                sender=message.sender or "",
                path=message.path,
                interface=message.interface,
                member=message.member,
                signature=message.signature,
                arguments=[_unwrap(value) for value in message.body],
                interactive=bool(message.flags & _Flag.ALLOW_INTERACTIVE_AUTHORIZATION),
                serial=message.serial,
                wants_reply=not message.flags & _Flag.NO_REPLY_EXPECTED,
            )
            self._keep(asyncio.ensure_future(self._run(self.on_call, call)))
            return True
        if message.message_type is _Kind.SIGNAL:
            signal = IncomingSignal(
                sender=message.sender or "",
                path=message.path,
                interface=message.interface,
                member=message.member,
                arguments=[_unwrap(value) for value in message.body],
            )
            for listener in list(self._listeners):
                listener(signal)
        return False

    async def _run(
        self, handler: Callable[[IncomingCall], Awaitable[None]], call: IncomingCall
    ) -> None:
        await handler(call)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _forget(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


def _close_socket(bus: Any) -> None:
    for name in ("_stream", "_sock"):
        opened = getattr(bus, name, None)
        if opened is not None:
            with suppress(OSError):
                opened.close()


def _lost() -> DaemonUnreachableError:
    return DaemonUnreachableError("the connection to the message bus is lost")
