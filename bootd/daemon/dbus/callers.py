"""A share of the daemon for each user: nobody's calls keep another user's waiting for long.

A user's calls are answered a few at a time, and a few users' at a time; the others wait, up to a
bound for each user. While a person is asked for leave, a call takes no part in that. Root does not
wait and has no bound, and while it is answered no other call begins to be: whatever others do, the
machine can be looked after.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.wire import ERROR_PREFIX, ProtocolError, RemoteError
from bootd.daemon.event_loop import asyncio
from bootd.model.errors import CancelledError

MAX_PENDING: Final = 64
"""Calls of one user that are not answered yet."""
MAX_QUESTIONS: Final = 8
"""Of these, such as wait for polkit, which may be for a password."""
TOO_MANY: Final = f"{MAX_PENDING} calls of this user are waiting already"
MAX_UNKNOWN: Final = 16
"""Calls of one connection whose user the bus has not told yet."""
_AT_A_TIME: Final = 2
_USERS_AT_A_TIME: Final = 4
_MAX_ALL_PENDING: Final = 1_024
_MAX_ALL_QUESTIONS: Final = 96
"""The bus allows 128 unanswered calls to a connection, and each question takes one."""
_MAX_KNOWN: Final = 4_096
"""Connections whose user is remembered. The bus gives no name twice."""
_NO_SUCH_NAME: Final = f"{ERROR_PREFIX}NameHasNoOwner"
_ROOT: Final = 0
_BEHIND_ROOT_SECONDS: Final = 1.0
"""How long others let root go first: what it asks for may take as long as a disk does."""


@dataclass(slots=True)
class _Share:
    """What a user, or a connection whose user is not known yet, has of the daemon."""

    pending: int = 0
    questions: int = 0
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_A_TIME))


class Callers:
    """Who calls, and how much of the daemon each user has.

    Args:
        connection: the bus, which knows the users.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._users: dict[str, int] = {}
        self._asked: dict[str, asyncio.Task[int]] = {}
        self._shares: dict[int | str, _Share] = {}
        self._turns = asyncio.Semaphore(_AT_A_TIME * _USERS_AT_A_TIME)
        self._root_calls = 0
        self._root_is_answered = asyncio.Event()
        self._root_is_answered.set()
        self._pending = 0
        self._questions = 0

    async def user(self, sender: str) -> int:
        """Return the user ID of a connection; the bus daemon knows it.

        Raises:
            CancelledError: it has left the bus.
        """
        known = self._users.get(sender)
        if known is not None:
            return known
        if sender not in self._asked:
            self._asked[sender] = asyncio.ensure_future(self._ask(sender))
        return await asyncio.shield(self._asked[sender])

    def has_room(self, sender: str) -> bool:
        """Return whether one more call of a connection can be taken up."""
        whose = self._users.get(sender)
        if whose == _ROOT:
            return True
        if whose is None:
            # It may be root's, so the others do not count.
            return self._waiting(sender) < MAX_UNKNOWN
        return self._waiting(whose) < MAX_PENDING and self._pending < _MAX_ALL_PENDING

    @asynccontextmanager
    async def turn(self, sender: str) -> AsyncIterator[None]:
        """Wait until it is a connection's turn to have a call answered.

        Raises:
            CancelledError: it has left the bus.
            ProtocolError: its user has too many calls that wait.
        """
        with self._counted(sender):
            uid = await self.user(sender)
        if uid == _ROOT:
            with self._root_first():
                yield
            return
        if not self.has_room(sender):
            raise ProtocolError("LimitsExceeded", TOO_MANY)
        self._pending += 1
        try:
            with self._counted(uid) as share:
                async with share.turns, self._turns:
                    await self._behind_root()
                    yield
        finally:
            self._pending -= 1

    @asynccontextmanager
    async def question(self, uid: int) -> AsyncIterator[None]:
        """Let others have the turn of a call, within `turn`, while it waits for leave.

        Raises:
            ProtocolError: the user has too many questions that nobody answered.
        """
        share = self._shares[uid]
        if share.questions >= MAX_QUESTIONS or self._questions >= _MAX_ALL_QUESTIONS:
            raise ProtocolError(
                "LimitsExceeded", f"{share.questions} calls of this user wait for leave already"
            )
        share.questions += 1
        self._questions += 1
        self._turns.release()
        share.turns.release()
        try:
            yield
        finally:
            share.questions -= 1
            self._questions -= 1
            await share.turns.acquire()
            await self._turns.acquire()

    async def _ask(self, sender: str) -> int:
        try:
            [uid] = await self._connection.ask_bus("GetConnectionUnixUser", "s", sender)
        except RemoteError as error:
            if error.name != _NO_SUCH_NAME:
                raise
            raise CancelledError("the caller has left the bus") from error
        finally:
            del self._asked[sender]
        while len(self._users) >= _MAX_KNOWN:
            del self._users[next(iter(self._users))]
        self._users[sender] = int(uid)
        return int(uid)

    def _waiting(self, whose: int | str) -> int:
        share = self._shares.get(whose)
        return 0 if share is None else share.pending

    @contextmanager
    def _root_first(self) -> Iterator[None]:
        self._root_calls += 1
        self._root_is_answered.clear()
        try:
            yield
        finally:
            self._root_calls -= 1
            if not self._root_calls:
                self._root_is_answered.set()

    async def _behind_root(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_BEHIND_ROOT_SECONDS):
                await self._root_is_answered.wait()

    @contextmanager
    def _counted(self, whose: int | str) -> Iterator[_Share]:
        share = self._shares.setdefault(whose, _Share())
        share.pending += 1
        try:
            yield share
        finally:
            share.pending -= 1
            if not share.pending:
                del self._shares[whose]
