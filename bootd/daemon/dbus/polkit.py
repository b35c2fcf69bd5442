"""Who may do what: polkit is asked on every call, nothing is remembered.

The subject is the caller's bus name, which cannot be forged (polkit's D-Bus API, Authority,
``system-bus-name``). Root needs nobody's leave, so a machine without polkit can still be run by it.
A question has an end: a person who does not answer it in time is taken not to want it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any, Final

from bootd.daemon.dbus import names
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.callers import Callers
from bootd.daemon.dbus.wire import (
    ERROR_PREFIX,
    IncomingCall,
    IncomingSignal,
    ProtocolError,
    RemoteError,
    Variant,
)
from bootd.daemon.event_loop import asyncio
from bootd.model.action import Action
from bootd.model.errors import CancelledError, NotAuthorizedError

_log = logging.getLogger(__name__)

_POLKIT: Final = "org.freedesktop.PolicyKit1"
_PATH: Final = "/org/freedesktop/PolicyKit1/Authority"
_AUTHORITY: Final = "org.freedesktop.PolicyKit1.Authority"
_ALLOW_INTERACTION: Final = 1
_PATIENCE_SECONDS: Final = 120.0
"""How long a person may take to give a password."""
_QUIET_SECONDS: Final = 5.0
"""How long polkit may take to say whether somebody may read more than anybody."""
_ABSENT: Final = frozenset(
    ERROR_PREFIX + name for name in ("ServiceUnknown", "NameHasNoOwner", "Spawn.ServiceNotFound")
)


class Authority:
    """Answers whether the sender of a call may do what it asks for.

    Args:
        connection: the bus, with polkit on it.
        callers: who calls.
        patience: seconds until a question is given up.
    """

    def __init__(
        self, connection: Connection, callers: Callers, *, patience: float = _PATIENCE_SECONDS
    ) -> None:
        self._connection = connection
        self._callers = callers
        self._patience = patience
        self._checks = count(1)

    async def user(self, call: IncomingCall) -> int:
        """Return the user ID of a caller.

        Raises:
            CancelledError: the caller has left.
        """
        return await self._callers.user(call.sender)

    async def require(
        self, call: IncomingCall, action: Action, details: Mapping[str, str] | None = None
    ) -> int:
        """Return the caller's user ID if it may; it may be asked for a password.

        Args:
            call: what it sent.
            action: what it takes.
            details: what rules may decide by, such as the image; the method is added.

        Raises:
            NotAuthorizedError: it may not, or nobody could ask it, or nobody answered.
            CancelledError: the caller left the bus before it was decided.
            ProtocolError: its user has too many questions that nobody answered.
        """
        uid = await self.user(call)
        if uid == 0:
            return uid
        async with self._callers.question(uid):
            authorized, challenge = await self._check(call, action, details or {}, self._patience)
        if authorized:
            return uid
        if challenge and not call.interactive:
            raise NotAuthorizedError(
                f"{call.member} needs authentication for {action}, and the call does not allow it",
                hint="Allow interactive authorization in the call, or run it as root.",
            )
        raise NotAuthorizedError(f"{call.member} was refused: {action} is not granted")

    async def allows(self, call: IncomingCall, action: Action) -> bool:
        """Return whether the caller may without being asked for a password; False where in doubt.

        Raises:
            CancelledError: the caller left the bus before it was decided.
        """
        uid = await self.user(call)
        if uid == 0:
            return True
        quiet = replace(call, interactive=False)
        try:
            async with self._callers.question(uid):
                authorized, _ = await self._check(quiet, action, {}, _QUIET_SECONDS)
        except (NotAuthorizedError, ProtocolError):
            return False
        return authorized

    async def _check(
        self, call: IncomingCall, action: Action, details: Mapping[str, str], patience: float
    ) -> tuple[bool, bool]:
        cancellation = f"bootd-{next(self._checks)}"
        asking = asyncio.ensure_future(
            self._connection.call(
                _POLKIT,
                _PATH,
                f"{_AUTHORITY}.CheckAuthorization",
                "(sa{sv})sa{ss}us",
                ["system-bus-name", {"name": Variant("s", call.sender)}],
                str(action),
                {"method": call.member, **details},
                _ALLOW_INTERACTION if call.interactive else 0,
                cancellation,
                timeout=None,
            )
        )
        try:
            async with _Departure(self._connection, call.sender) as departed:
                either: list[asyncio.Future[Any]] = [asking, departed]
                await asyncio.wait(either, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                await self._cancel(cancellation)
                if departed.done():
                    raise CancelledError("the caller left the bus before it was authorized")
                raise NotAuthorizedError(
                    f"nobody gave a password for {action} in {patience:g} s",
                    hint="Call again when somebody can answer, or run it as root.",
                )
            [[authorized, challenge, _]] = await asking
        except RemoteError as error:
            if error.name in _ABSENT:
                raise NotAuthorizedError(
                    f"{call.member} needs root, because polkit is not running"
                ) from error
            raise NotAuthorizedError(
                f"polkit could not decide about {action}: {error.message}",
                hint="'systemctl status polkit' says why.",
            ) from error
        finally:
            asking.cancel()
        return bool(authorized), bool(challenge)

    async def _cancel(self, cancellation: str) -> None:
        with suppress(RemoteError):
            await self._connection.call(
                _POLKIT,
                _PATH,
                f"{_AUTHORITY}.CancelCheckAuthorization",
                "s",
                cancellation,
                timeout=_QUIET_SECONDS,
            )


class _Departure:
    """A future that is done when a peer has left the bus."""

    def __init__(self, connection: Connection, peer: str) -> None:
        self._connection = connection
        self._peer = peer
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rule = f"type='signal',member='NameOwnerChanged',arg0='{peer}'"
        self._stop = connection.listen(self._on_signal)

    async def __aenter__(self) -> asyncio.Future[None]:
        await self._connection.ask_bus("AddMatch", "s", self._rule)
        try:
            await self._connection.ask_bus("GetNameOwner", "s", self._peer)
        except RemoteError:
            self._leave()
        return self._future

    async def __aexit__(self, *_: object) -> None:
        self._stop()
        with suppress(RemoteError):
            await self._connection.ask_bus("RemoveMatch", "s", self._rule)

    def _on_signal(self, signal: IncomingSignal) -> None:
        if (
            signal.sender == names.BUS_DAEMON
            and signal.member == "NameOwnerChanged"
            and signal.arguments[0] == self._peer
        ):
            self._leave()

    def _leave(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
