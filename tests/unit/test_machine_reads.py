"""What the daemon knows of the machine is never older than what it was told last."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from bootd.daemon import machine as module
from bootd.daemon.machine import Machine
from bootd.model.documents import StatusDocument
from bootd.operations.hold import hold, release
from bootd.operations.host import Host
from bootd.operations.status import status


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.host.sysroot.initialise()
    return made


async def test_slow_read_does_not_replace_a_newer_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    disk_was_read, go_on = threading.Event(), threading.Event()

    def slow_once(host: Host) -> StatusDocument:
        document = status(host)
        if not disk_was_read.is_set():
            disk_was_read.set()
            go_on.wait(30)
        return document

    monkeypatch.setattr(module, "status", slow_once)
    before = asyncio.ensure_future(machine.read())
    await asyncio.to_thread(disk_was_read.wait, 30)
    hold(machine.host, "the tests")
    after = asyncio.ensure_future(machine.read())
    await asyncio.wait([after], timeout=0.2)
    go_on.set()
    await asyncio.gather(before, after)
    assert machine.status.held_by == "the tests"


async def test_changes_within_one_tick_of_the_file_system_are_seen(machine: Machine):
    def on_vfat() -> None:
        for folder in machine.folders():
            if folder.exists():
                even = folder.stat().st_mtime_ns // 2_000_000_000 * 2_000_000_000
                os.utime(folder, ns=(even, even))

    for holder in ("one", "another", "a third"):
        hold(machine.host, holder)
        on_vfat()
        assert await machine.look()
        assert machine.status.held_by == holder
        release(machine.host)


async def test_machine_at_rest_is_not_read_again(machine: Machine):
    for folder in machine.folders():
        if folder.exists():
            os.utime(folder, (1_000_000_000, 1_000_000_000))
    await machine.read()
    assert not await machine.look()
