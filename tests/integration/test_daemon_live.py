"""What the daemon asks of systemd and logind, on a bus where stand-ins note it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.bus import SYSTEM_PYTHON, environment_of, permissive_bus
from support.private_bus import wait_for_name

from bootd.daemon import live
from bootd.daemon.bus import Connection
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
        assert await live.next_check(connection) == 1_800_000_000_000_000
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
    assert await live.next_check(connection) == 0
    await connection.close()
