"""The order of the daemon's signals: who listens knows everything when a job or a call ends."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self

import pytest
from support.bus import LIBRARIES, Rig, rig, silent_registry
from support.mirror import Mirror, truth, without_results

from bootd.daemon.dbus import names
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.client import BusClient
from bootd.daemon.events.notify import ServiceManager
from bootd.daemon.machine import Machine
from bootd.daemon.service import Service
from bootd.operations.host import open_host
from bootd.operations.progress import Silent
from bootd.operations.stage import stage
from bootd.sysroot import Sysroot


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def found() -> Iterator[Rig]:
    with rig() as made:
        yield made


class Listener:
    """A client whose knowledge is compared with the truth after everything it does."""

    def __init__(self, client: BusClient, mirror: Mirror) -> None:
        self.client = client
        self.mirror = mirror

    @classmethod
    @asynccontextmanager
    async def on(cls, found: Rig) -> AsyncIterator[Self]:
        client = await BusClient.connect(found.address)
        try:
            yield cls(client, await Mirror.of(client, Sysroot.at(found.sysroot)))
        finally:
            await client.close()

    async def job(self, member: str, *arguments: object, **options: str) -> dict[str, str]:
        """Carry a job through; return what it left."""
        path = await self.client.call(member, *arguments, **options)
        await self.end(path)
        result = (await self.client.get_job(path)).result
        return dict(json.loads(result)) if result else {}

    async def end(self, path: str) -> None:
        await self.mirror.until(path, "ended")
        assert without_results(self.mirror.ends[path]) == without_results(
            await truth(self.client)
        ), f"not all was known at the end of {path}"
        await self.mirror.until(path, "removed")

    async def quick(self, member: str, *arguments: object) -> None:
        """Call a method that has no job."""
        await self.client.call(member, *arguments)
        known = self.mirror.known()
        assert without_results(known) == without_results(await truth(self.client)), member


async def test_who_listens_knows_all_when_something_ends(found: Rig, library: str):
    with found.daemon(BOOTD_DBUS_LIBRARY=library):
        async with Listener.on(found) as listener:
            first = await listener.job("Switch", found.image("1"))
            await listener.quick("Hold", "the tests")
            await listener.quick("Release")
            await listener.job("Check")
            await listener.job("Finalize")
            await listener.quick("Pin", first["deployment"])
            await listener.job("Switch", found.image("2"))
            await listener.quick("Unstage")
            await listener.job("Switch", found.image("2"))
            await listener.job("Finalize")
            await listener.job("Rollback", deployment=first["deployment"])
            await listener.quick("Unpin", first["deployment"])
            await listener.job("Fsck")
            await listener.job("Cleanup")
            await listener.job("Switch", f"oci:{found.folder}/image:absent")
            with silent_registry() as reference:
                path = await listener.client.call("Switch", reference)
                await listener.client.cancel(path)
                await listener.end(path)
        assert listener.mirror.faults == []
        _nothing_follows_an_end(listener.mirror)


def _nothing_follows_an_end(mirror: Mirror) -> None:
    jobs = [path for path, what in mirror.told if what == "ended"]
    assert len(jobs) == 11
    for path in jobs:
        after = mirror.told[mirror.told.index((path, "ended")) + 1 :]
        assert after[:3] == [
            (path, "PropertiesChanged"),
            (path, "removed"),
            (names.ROOT, "JobRemoved"),
        ]
        assert (path, "PropertiesChanged") not in after[3:]


async def _stage_beside(found: Rig, reference: str) -> None:
    """Stage an image without the daemon."""
    host = open_host(found.sysroot)
    alone = host.configuration.model_copy(update={"parallel_layers": 1})
    await asyncio.to_thread(
        stage, replace(host, configuration=alone), Silent(), reference=reference
    )


async def test_reload_tells_of_new_deployments_before_it_names_them(found: Rig):
    class Live(Machine):
        """One whose daemon asks systemd, which is not on this bus."""

        live = True  # type: ignore[assignment] # a property of the class above

    reference = found.image("1")
    connection = await Connection.open(found.address)
    service = Service(connection, Live(found.sysroot), ServiceManager())
    await service.start()
    async with Listener.on(found) as listener:
        await _stage_beside(found, reference)
        await service.reload()
        known = await truth(listener.client)
        assert known[names.ROOT]["Staged"] in known
        assert listener.mirror.known() == known
        assert listener.mirror.faults == []
    await service.stop()
    await connection.close()


async def test_change_beside_the_daemon_is_told_in_order(found: Rig, library: str):
    with found.daemon(BOOTD_DBUS_LIBRARY=library) as process:
        async with Listener.on(found) as listener:
            await _stage_beside(found, found.image("1"))
            process.send_signal(signal.SIGHUP)
            await listener.quick("GetStatus")
            assert listener.mirror.objects[names.ROOT]["State"] == "staged"
            assert listener.mirror.faults == []
