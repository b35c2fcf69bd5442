"""The one module that knows the D-Bus library: dbus-next, else dbus-fast.

Of both only their messages are used: values to bytes, and bytes to values. The socket is our own
(`bootd.daemon.dbus.transport`), because a message has to be looked at by its header before it is
unpacked, and so is dispatch (`bootd.daemon.dbus.server`). By that

* sender and flags of a call reach the handler: they are in `IncomingCall`;
* no exception reaches the library, which would send its traceback to the caller;
* a full socket does not end the connection;
* file descriptors are not negotiated, so the bus refuses messages with them and none can leak;
* introspection is answered with the shipped XML;
* a call without an interface is understood;
* the loss of the bus is noticed (`Connection.closed`), and ends the daemon;
* what is sent is what a bus carries, so that no text and no size makes it hang up.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from types import ModuleType
from typing import Any, Final, Self

from bootd.daemon.dbus import names
from bootd.daemon.dbus.framing import Header, Kind
from bootd.daemon.dbus.transport import Transport
from bootd.daemon.dbus.wire import ERROR_PREFIX, IncomingCall, IncomingSignal, RemoteError, Variant
from bootd.daemon.event_loop import asyncio
from bootd.model.errors import (
    BootdError,
    BusyError,
    DaemonUnreachableError,
    InternalError,
    NotAuthorizedError,
)
from bootd.startup import hidden

_log = logging.getLogger(__name__)

DEFAULT_ADDRESS: Final = "unix:path=/run/dbus/system_bus_socket"
LIBRARY_VARIABLE: Final = "BOOTD_DBUS_LIBRARY"
"""Names the library to use where both are installed; the tests run with either."""
_LIBRARIES: Final = ("dbus_next", "dbus_fast")
_GLIB: Final = "gi.repository"
"""What dbus-next loads where it is there: 7 MB for what nobody here uses."""

_HINT_SEPARATOR: Final = "\n"
_CALL_TIMEOUT: Final = 25.0
_LARGEST: Final = 30 << 20
"""Bytes of a message that is sent; the system bus hangs up on who sends one of more than 32 MiB."""
_LARGE: Final = 64 << 10
"""Arguments of more bytes are unpacked beside all else."""
_INTERACTIVE: Final = 4
_NO_REPLY: Final = 1
_DO_NOT_QUEUE: Final = 4
_PRIMARY_OWNER: Final = 1


def _load_library() -> ModuleType:
    wanted = os.environ.get(LIBRARY_VARIABLE)
    for name in _LIBRARIES if wanted is None else (wanted,):
        if name in _LIBRARIES:
            with suppress(ModuleNotFoundError), hidden(_GLIB):
                return importlib.import_module(name)
    raise InternalError(
        f"no D-Bus library: {wanted or ' or '.join(_LIBRARIES)} cannot be imported",
        hint="Install python3-dbus-next.",
    )


_library: Final[Any] = _load_library()
_Unmarshaller: Final[Any] = importlib.import_module(
    f"{_library.__name__}._private.unmarshaller"
).Unmarshaller
_Kind: Final[Any] = _library.MessageType
_Flag: Final[Any] = _library.MessageFlag


def _wrap(value: Any) -> Any:
    if isinstance(value, Variant):
        return _library.Variant(value.signature, _wrap(value.value))
    if isinstance(value, dict):
        return {_wrap(key): _wrap(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_wrap(item) for item in value]
    return _carried(value) if isinstance(value, str) else value


def _carried(text: str) -> str:
    """Return text as a bus carries it: without NUL, and in UTF-8 (D-Bus specification, "STRING").

    The bus hangs up on who sends anything else.
    """
    if text.isascii() and "\0" not in text:
        return str(text)
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


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
        admits: tells by what is known before its arguments are whether a call is taken up at all;
            it answers those that are not.
        on_call: what gets method calls that arrive; it replies itself and never raises.
        heeds: tells by their sender whether signals are taken up.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._unique_name = ""
        self._serials = count(1)
        self._asked: dict[int, asyncio.Future[tuple[Header, list[Any]]]] = {}
        self._listeners: list[Callable[[IncomingSignal], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.admits: Callable[[IncomingCall], bool] = self._refuse
        self.on_call: Callable[[IncomingCall], Awaitable[None]] | None = None
        self.heeds: Callable[[str], bool] = bool
        transport.start(self._wants, self._take)
        transport.closed.add_done_callback(self._hear_of_the_end)

    @classmethod
    async def open(cls, address: str | None = None) -> Self:
        """Connect and say Hello.

        Args:
            address: a D-Bus address; None for the system bus.

        Raises:
            DaemonUnreachableError: there is no bus at the address, or it turned us away.
        """
        chosen = address or bus_address()
        transport: Transport | None = None
        try:
            async with asyncio.timeout(_CALL_TIMEOUT):
                transport = await Transport.open(chosen)
                connection = cls(transport)
                [connection._unique_name] = await connection.ask_bus("Hello")
        except (OSError, EOFError, ValueError, RemoteError, DaemonUnreachableError) as error:
            if transport is not None:
                transport.close()
            raise DaemonUnreachableError(
                f"no message bus answers at {chosen}: {str(error) or type(error).__name__}",
                hint=f"Start dbus, or name another bus in {names.ADDRESS_VARIABLE}.",
            ) from error
        return connection

    @property
    def unique_name(self) -> str:
        """The name the bus gave this connection."""
        return self._unique_name

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
        if not self._transport.connected:
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
            serial=(serial := next(self._serials)),
        )
        self._asked[serial] = asyncio.get_running_loop().create_future()
        self._transport.send(message._marshall(False))  # noqa: SLF001 - as the library does
        try:
            async with asyncio.timeout(timeout):
                header, values = await self._asked[serial]
        except TimeoutError as error:
            raise RemoteError(
                f"{ERROR_PREFIX}NoReply", f"{destination} did not answer {method} in {timeout:g} s"
            ) from error
        finally:
            del self._asked[serial]
        if header.kind == Kind.ERROR:
            text = next((text for text in values if isinstance(text, str)), "")
            message, _, hint = text.partition(_HINT_SEPARATOR)
            raise RemoteError(header.error_name, message, hint=hint)
        return values

    async def arguments(self, call: IncomingCall) -> list[Any]:
        """Return the arguments of a call; many do not hold up others while they are unpacked."""
        if call.size > _LARGE:
            return await asyncio.to_thread(_unpacked, call.packed)
        return _unpacked(call.packed)

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
        """Answer a call.

        Raises:
            InternalError: the answer is larger than a bus carries.
        """
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
                body=_wrap([text]),
            )

    def emit(self, path: str, member: str, signature: str = "", *values: Any) -> None:
        """Send a signal; `member` is interface and signal, joined by a dot.

        One that cannot be sent is left out: nobody waits for it, and all it tells can be asked for.
        """
        interface, _, signal = member.rpartition(".")
        try:
            self._send(
                message_type=_Kind.SIGNAL,
                path=path,
                interface=interface,
                member=signal,
                signature=signature,
                body=_wrap(list(values)),
            )
        except Exception:  # noqa: BLE001 - no value may end the daemon
            _log.exception("the signal %s could not be sent", member)

    async def closed(self) -> None:
        """Return when the connection is lost."""
        await asyncio.shield(self._transport.closed)

    async def close(self) -> None:
        """Disconnect; what was sent before is sent first."""
        if self._transport.connected:
            with suppress(BootdError):
                await self.ask_bus("GetId")
        self._transport.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _send(self, **fields: Any) -> None:
        message = _library.Message(**fields, serial=next(self._serials))
        data = message._marshall(False)  # noqa: SLF001 - as the library does
        if len(data) > _LARGEST:
            raise InternalError(f"a message of {len(data)} bytes is more than the bus carries")
        self._transport.send(data)

    def _refuse(self, call: IncomingCall) -> bool:
        """Refuse a call to a connection that serves none."""
        self.reply_error(call, f"{ERROR_PREFIX}UnknownMethod", "nothing is served here")
        return False

    def _wants(self, header: Header) -> bool:
        if header.kind == Kind.CALL:
            return self.admits(_incoming(header))
        if header.kind == Kind.SIGNAL:
            return bool(self._listeners) and self.heeds(header.sender)
        is_reply = header.kind in (Kind.RETURN, Kind.ERROR)
        return is_reply and header.reply_serial in self._asked

    def _take(self, header: Header, message: bytes) -> None:
        if header.kind == Kind.CALL:
            if self.on_call is not None:
                self._keep(asyncio.ensure_future(self._run(_incoming(header, message))))
            return
        try:
            values = _unpacked(message)
        except Exception:  # noqa: BLE001 - whatever the library makes of it
            _log.exception("a message of %s cannot be read", header.sender)
            return
        if header.kind == Kind.SIGNAL:
            signal = IncomingSignal(
                sender=header.sender,
                path=header.path,
                interface=header.interface or "",
                member=header.member,
                arguments=values,
            )
            for listener in list(self._listeners):
                listener(signal)
        elif not self._asked[header.reply_serial].done():
            self._asked[header.reply_serial].set_result((header, values))

    async def _run(self, call: IncomingCall) -> None:
        assert self.on_call is not None
        await self.on_call(call)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hear_of_the_end(self, _: asyncio.Future[str]) -> None:
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(_lost())


def _incoming(header: Header, message: bytes = b"") -> IncomingCall:
    return IncomingCall(
        sender=header.sender,
        path=header.path,
        interface=header.interface,
        member=header.member,
        signature=header.signature,
        size=header.size,
        interactive=bool(header.flags & _INTERACTIVE),
        serial=header.serial,
        wants_reply=not header.flags & _NO_REPLY,
        packed=message,
    )


def _unpacked(message: bytes) -> list[Any]:
    """Return the values of a whole message."""
    return [_unwrap(value) for value in _Unmarshaller(io.BytesIO(message)).unmarshall().body]


def _lost() -> DaemonUnreachableError:
    return DaemonUnreachableError("the connection to the message bus is lost")
