"""Who has a turn, and who is refused: by users that a stand-in for the bus tells."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from bootd.daemon.dbus import callers, refusals
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.callers import MAX_UNKNOWN, Callers
from bootd.daemon.dbus.refusals import AT_A_TIME, MAX_WAITING, Refusals
from bootd.daemon.dbus.wire import IncomingCall, ProtocolError, RemoteError
from bootd.model.errors import CancelledError

ROOT, NOBODY = ":1.1", ":1.2"


class Users:
    """Answers as the bus daemon does, once it may."""

    def __init__(self, *, error: str | None = None) -> None:
        self.may_answer = asyncio.Event()
        self.error = error

    async def ask_bus(self, _member: str, _signature: str, sender: str) -> list[int]:
        await self.may_answer.wait()
        if self.error is not None:
            raise RemoteError(self.error, "as told")
        return [0 if sender == ROOT else 65_534]


def known(users: Users) -> Callers:
    return Callers(cast("Connection", users))


def call(*, wants_reply: bool = True) -> IncomingCall:
    return IncomingCall(
        NOBODY, "/", None, "Guess", "", 0, interactive=False, serial=1, wants_reply=wants_reply
    )


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def taking(found: Callers, sender: str, begun: list[str], end: asyncio.Event) -> None:
    async with found.turn(sender):
        begun.append(sender)
        await end.wait()


async def test_a_connection_nobody_knows_has_few_calls() -> None:
    users = Users()
    begun: list[str] = []
    found, end = known(users), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(MAX_UNKNOWN):
            assert found.has_room(NOBODY)
            group.create_task(taking(found, NOBODY, begun, end))
            await settled()
        assert not found.has_room(NOBODY)
        assert found.has_room(ROOT), "which may be root's"
        users.may_answer.set()
        end.set()
    assert begun == [NOBODY] * MAX_UNKNOWN


async def test_others_begin_when_root_is_answered() -> None:
    users = Users()
    users.may_answer.set()
    begun: list[str] = []
    found = known(users)
    end, other = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for sender in (ROOT, NOBODY, ROOT):
            group.create_task(taking(found, sender, begun, end if sender == ROOT else other))
            await settled()
        assert begun == [ROOT, ROOT]
        end.set()
        await settled()
        assert begun == [ROOT, ROOT, NOBODY]
        other.set()


async def test_others_do_not_wait_long_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "_BEHIND_ROOT_SECONDS", 0)
    users = Users()
    users.may_answer.set()
    begun: list[str] = []
    found, end = known(users), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for sender in (ROOT, NOBODY):
            group.create_task(taking(found, sender, begun, end))
            await settled()
        assert begun == [ROOT, NOBODY]
        end.set()


@pytest.mark.parametrize(("name", "left"), [("NameHasNoOwner", True), ("NoReply", False)])
async def test_only_the_bus_says_that_a_caller_has_left(name: str, left: bool) -> None:
    users = Users(error=f"org.freedesktop.DBus.Error.{name}")
    users.may_answer.set()
    with pytest.raises(CancelledError if left else RemoteError):
        await known(users).user(NOBODY)


async def test_refusals_come_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "_SECONDS", 0)
    monkeypatch.setattr(refusals, "_TICK_SECONDS", 0)
    answered: list[Any] = []
    found = Refusals(lambda *refused: answered.append(refused))
    for _ in range(MAX_WAITING + 1):
        found.add(call(), ProtocolError("LimitsExceeded", "too many"))
        found.add(call(wants_reply=False), ProtocolError("LimitsExceeded", "too many"))
    steps = [0]
    while steps[-1] < MAX_WAITING:
        await asyncio.sleep(0)
        steps.append(len(answered))
        assert steps[-1] - steps[-2] <= AT_A_TIME
    await settled()
    assert len(answered) == MAX_WAITING, "those beyond get no answer"
