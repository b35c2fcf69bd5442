"""Restarts that nobody asks for: when they come, what puts them off, and that they come then."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.bus import SYSTEM_PYTHON, environment_of, permissive_bus
from support.private_bus import wait_for_name

from bootd.clock import SYSTEM_CLOCK
from bootd.daemon import live
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.machine import Machine
from bootd.daemon.unattended import applying
from bootd.daemon.unattended.applying import Applier
from bootd.model.config import ApplySettings, Automatic, Configuration
from bootd.model.errors import BusyError

_STAND_IN = Path(__file__).parents[1] / "support/inhibited_logind.py"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with permissive_bus(tmp_path) as (address, _):
        yield address


@contextmanager
def logind(address: str) -> Iterator[subprocess.Popen[str]]:
    environment = environment_of(address)
    with subprocess.Popen(
        [SYSTEM_PYTHON, str(_STAND_IN)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_for_name("org.freedesktop.login1", environment)
            yield process
        finally:
            process.kill()


def inhibit(process: subprocess.Popen[str], line: str = "") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    assert said(process) == "ok"


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@dataclass
class Stage:
    """A live machine on which an update is staged, and what is asked of its logind."""

    connection: Connection
    machine: Any
    runner: Any = field(default_factory=lambda: SimpleNamespace(running=None))
    asked: int = 0
    refusal: BusyError | None = None
    applier: Applier = field(init=False)

    def __post_init__(self) -> None:
        self.applier = Applier(self.connection, self.machine, self.runner, self._reboot)

    async def _reboot(self) -> None:
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal

    def status(self, **changes: object) -> None:
        self.machine.status = self.machine.status.model_copy(update=changes)

    def windows(self, *windows: str) -> None:
        host = self.machine.host
        settings = ApplySettings(windows=list(windows))
        host.configuration = host.configuration.model_copy(update={"apply": settings})

    async def tried(self, times: int = 1) -> None:
        async with asyncio.timeout(60):
            while self.asked < times:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)

    async def put_off(self) -> str:
        async with asyncio.timeout(60):
            while self.applier.put_off is None:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        return self.applier.put_off.reason


@asynccontextmanager
async def staged(address: str, folder: Path, **more: object) -> AsyncIterator[Stage]:
    connection = await Connection.open(address)
    configuration = Configuration(automatic=Automatic.APPLY)
    host = SimpleNamespace(configuration=configuration, clock=SYSTEM_CLOCK)
    known = {"staged": "abababababababab.0", "reboot_helps": True, **more}
    status = Machine(folder).status.model_copy(update=known)
    machine = SimpleNamespace(status=status, host=host, live=True, directory=folder)
    made = Stage(connection, machine)
    try:
        yield made
    finally:
        await made.applier.stop()
        await connection.close()


async def test_it_restarts_at_the_end_of_a_run_and_not_before(address: str, tmp_path: Path):
    async with staged(address, tmp_path) as stage:
        stage.applier.consider()
        await asyncio.sleep(0.1)
        assert stage.asked == 0
        stage.applier.run_ended()
        await stage.tried()
        assert stage.applier.put_off is None
        # The next night tries anew, whatever became of this one.
        stage.applier.run_ended()
        await stage.tried(2)


@pytest.mark.parametrize(
    "changes",
    [
        {"reboot_helps": False},
        {"staged": None, "queued": "abababababababab.0", "queued_by_hand": True},
        {"reboot_helps": False, "held_by": "exams", "held_back": True},
    ],
)
async def test_what_is_not_for_the_timer_to_restart_into(
    address: str, tmp_path: Path, changes: dict[str, object]
):
    async with staged(address, tmp_path, **changes) as stage:
        stage.applier.run_ended()
        await asyncio.sleep(0.1)
        assert stage.asked == 0


async def test_other_policies_never_restart(address: str, tmp_path: Path):
    async with staged(address, tmp_path) as stage:
        stage.machine.host.configuration = Configuration(automatic=Automatic.STAGE)
        stage.applier.run_ended()
        await asyncio.sleep(0.1)
        assert stage.asked == 0


async def test_what_inhibits_is_told_and_its_end_is_heard(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(applying, "_FIRST_TRY_SECONDS", 3_600)
    monkeypatch.setattr(applying, "_LAST_TRY_SECONDS", 3_600)
    caplog.set_level(logging.INFO)
    with logind(address) as process:
        async with staged(address, tmp_path) as stage:
            stage.applier._reboot = partial(live.reboot, stage.connection)
            inhibit(process, "delay editor unsaved texts")
            stage.applier.run_ended()
            assert await asyncio.to_thread(said, process) == "restart"
            inhibit(process, "block backup a nightly copy")
            stage.applier.run_ended()
            why = "something inhibits a reboot: backup (a nightly copy)"
            assert await stage.put_off() == why
            assert [record.message_id for record in caplog.records if why in record.message] == [
                applying.Event.RESTART_PUT_OFF.value
            ]
            await asyncio.sleep(0.1)
            inhibit(process)
            assert await asyncio.to_thread(said, process) == "restart"
            while stage.applier.put_off is not None:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)


async def test_a_refusal_of_logind_is_told_once_and_tried_again(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(applying, "_FIRST_TRY_SECONDS", 1)
    caplog.set_level(logging.INFO)
    async with staged(address, tmp_path) as stage:
        stage.refusal = BusyError("something inhibits a reboot: backup")
        stage.applier.run_ended()
        await stage.tried(2)
        assert await stage.put_off() == "something inhibits a reboot: backup"
        stage.refusal = None
        await stage.tried(3)
        told = [record for record in caplog.records if hasattr(record, "message_id")]
        assert len(told) == 1


async def test_a_persons_job_is_not_cut_off(address: str, tmp_path: Path):
    async with staged(address, tmp_path) as stage:
        stage.runner.running = SimpleNamespace(gives_way=False)
        stage.applier.run_ended()
        await asyncio.sleep(0.1)
        assert stage.asked == 0
        stage.runner.running = None
        stage.applier.consider()
        await stage.tried()


async def test_a_window_that_opens_is_enough(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    planned: list[datetime | None] = []
    monkeypatch.setattr(applying.WakeTimer, "set", lambda _timer, when: planned.append(when))
    times = [datetime(2026, 12, 5, hour, tzinfo=UTC) for hour in (1, 2, 3, 4)]
    async with staged(address, tmp_path) as stage:
        stage.windows("Sat 02:00 2h UTC")
        stage.machine.host.clock = SimpleNamespace(now=times.pop)
        times.reverse()
        stage.applier.consider()
        assert await stage.put_off() == "no maintenance window is open"
        assert (planned, stage.asked) == ([datetime(2026, 12, 5, 2, tzinfo=UTC)], 0)
        # What the timer does when its time has come.
        stage.applier._news.set()
        await stage.tried()


async def test_a_shutdown_that_failed_is_not_tried_for_as_long_as_a_window_lasts(
    address: str, tmp_path: Path
):
    async with staged(address, tmp_path, finalize_failure="no space") as stage:
        stage.windows("00:00 168h UTC")
        stage.applier.consider()
        await asyncio.sleep(0.1)
        assert stage.asked == 0
        stage.applier.run_ended()
        await stage.tried()
