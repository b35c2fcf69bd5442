"""What the daemon asks of systemd and logind, on a bus where stand-ins note it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.bus import SYSTEM_PYTHON, environment_of, permissive_bus
from support.private_bus import wait_for_name

from bootd.daemon import live
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.wire import Variant
from bootd.daemon.unattended.awaited import Awaited
from bootd.daemon.unattended.timetable import SHIPPED, SHIPPED_SPREAD, Timetable
from bootd.model.errors import BusyError, ProcessFailedError

_STAND_IN = Path(__file__).parents[1] / "support/stand_in.py"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with permissive_bus(tmp_path) as (address, _):
        yield address


@contextmanager
def _stand_in(address: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = environment_of(address)
    with subprocess.Popen(
        [SYSTEM_PYTHON, str(_STAND_IN), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_for_name(arguments[0], environment)
            yield process
        finally:
            process.kill()


def _asked(process: subprocess.Popen[str]) -> list[object]:
    assert process.stdout is not None
    asked = json.loads(process.stdout.readline())
    assert isinstance(asked, list)
    return asked


async def test_finalization_is_armed_and_the_timer_asked(address: str):
    connection = await Connection.open(address)
    with _stand_in(address, "org.freedesktop.systemd1") as systemd:
        await live.arm_finalization(connection)
        assert _asked(systemd) == ["StartUnit", "bootd-finalize.service", "replace"]
        assert await live.timetable(connection) == Timetable((SHIPPED,), timedelta(minutes=15))
    with _stand_in(address, "org.freedesktop.systemd1", "", "inactive"):
        assert await live.timetable(connection) is None
    await connection.close()


async def test_reboot_respects_inhibitors(address: str):
    connection = await Connection.open(address)
    with _stand_in(address, "org.freedesktop.login1") as logind:
        await live.reboot(connection)
        assert _asked(logind) == ["RebootWithFlags", 1]
    await connection.close()


async def test_inhibited_reboot_says_so(address: str):
    connection = await Connection.open(address)
    denied = "org.freedesktop.DBus.Error.AccessDenied"
    with (
        _stand_in(address, "org.freedesktop.login1", denied),
        pytest.raises(BusyError, match="something inhibits a reboot"),
    ):
        await live.reboot(connection)
    await connection.close()


async def test_absent_services(address: str):
    connection = await Connection.open(address)
    with pytest.raises(ProcessFailedError, match=r"bootd-finalize\.service could not be started"):
        await live.arm_finalization(connection)
    with pytest.raises(ProcessFailedError, match="logind does not reboot"):
        await live.reboot(connection)
    assert await live.timetable(connection) is None
    await connection.close()


def test_a_timetable_of_an_administrator_is_read_by_systemd():
    sunday = Timetable(("Sun *-*-* 12:00:00 UTC", "*-*-* 25:00"), timedelta(hours=1))
    moment = datetime(2026, 11, 30, tzinfo=UTC)
    assert sunday.next(moment) == datetime(2026, 12, 6, 12, tzinfo=UTC)
    assert sunday.next(datetime(2026, 12, 6, 12, tzinfo=UTC)) == datetime(
        2026, 12, 13, 12, tzinfo=UTC
    )
    assert (sunday.spread, sunday.stale) == (timedelta(hours=1), None)
    assert Timetable(("2020-01-01 00:00:00",)).next(moment) is None
    shipped = Timetable((SHIPPED,), timedelta(minutes=15))
    assert shipped.spread == SHIPPED_SPREAD
    night = shipped.next(moment)
    assert night is not None
    assert timedelta() < night - moment <= timedelta(days=1, hours=1)


_LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1")
_NM = ("org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager")
_NETWORKD = ("org.freedesktop.network1", "/org/freedesktop/network1")


async def test_what_is_waited_for_is_heard_of_from_those_who_know(address: str):
    heard: list[str] = []
    connection, service, stranger = [await Connection.open(address) for _ in range(3)]
    awaited = Awaited(connection, lambda: heard.append("awake"), lambda: heard.append("network"))
    await awaited.start()

    async def told(of: Connection, member: str, signature: str, *values: object) -> list[str]:
        of.emit(_paths[member.rpartition(".")[0]], member, signature, *values)
        for one in (of, connection):
            await one.ask_bus("GetId")
        found = list(heard)
        heard.clear()
        return found

    _paths = {
        f"{_LOGIND[0]}.Manager": _LOGIND[1],
        _NM[0]: _NM[1],
        "org.freedesktop.DBus.Properties": _NETWORKD[1],
    }
    sleep, state = f"{_LOGIND[0]}.Manager.PrepareForSleep", f"{_NM[0]}.StateChanged"
    changed = "org.freedesktop.DBus.Properties.PropertiesChanged"
    online = (f"{_NETWORKD[0]}.Manager", {"OnlineState": Variant("s", "online")}, [])
    offline = (f"{_NETWORKD[0]}.Manager", {"OnlineState": Variant("s", "offline")}, [])
    # Services that come later are heard, too, and nobody else.
    for name, _ in (_LOGIND, _NM, _NETWORKD):
        await service.own(name)
    assert await told(stranger, sleep, "b", False) == []
    assert await told(service, sleep, "b", True) == []
    assert await told(service, sleep, "b", False) == ["awake"]
    # Nobody waits for a network.
    assert await told(service, state, "u", 70) == []
    await awaited.heed_network(True)
    assert await told(service, state, "u", 20) == []
    assert await told(service, state, "u", 70) == ["network"]
    assert await told(service, changed, "sa{sv}as", *offline) == []
    assert await told(service, changed, "sa{sv}as", *online) == ["network"]
    assert await told(service, state, "s", "what") == []
    await awaited.heed_network(False)
    assert await told(service, state, "u", 70) == []
    for one in (connection, service, stranger):
        await one.close()
