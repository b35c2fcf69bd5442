"""The main job over the bus on a machine that boots: upgrade, conflict, fall back, go on."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from support.bus import LIBRARIES, Rig, rig
from support.loader import boot
from support.machine import Machine, installed, publish

from bootd.daemon.dbus.client import BusClient
from bootd.model.deployment import DeploymentId
from bootd.model.errors import BootdError, DeniedDigestError, HeldError, InvalidArgumentError


class Story:
    """A machine that runs v1 with a local edit, and its daemon's client."""

    def __init__(self, made: Rig, library: str) -> None:
        self.machine: Machine = installed(made.folder)
        self.rig = Rig(made.folder, {**made.environment, "BOOTD_DBUS_LIBRARY": library})
        (self.rig.sysroot / "boot/loader/entries").rmdir()
        (self.rig.sysroot / "boot/loader").rmdir()
        (self.rig.sysroot / "boot").rmdir()
        self.rig.sysroot.rmdir()
        self.rig.sysroot.symlink_to(self.machine.folder)

    def configure(self, text: str) -> None:
        settings = self.machine.folder / "etc/bootd/bootd.toml"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(text)

    @asynccontextmanager
    async def up(self):
        """The machine while its daemon runs."""
        with self.rig.daemon():
            client = await BusClient.connect(self.rig.address)
            yield client
            await client.close()


@contextmanager
def _told(library: str) -> Iterator[Story]:
    with rig() as made:
        yield Story(made, library)


async def _do(client: BusClient, member: str, *arguments: Any, **options: Any) -> Any:
    job = await client.follow_job(await client.call(member, *arguments, **options))
    return json.loads(job.outcome())


async def _deployment(client: BusClient, name: str) -> dict[str, Any]:
    path = await client.get_property(name)
    return await client.get_properties(path, "org.bootd1.Deployment")


async def _decide(client: BusClient, motd: Callable[[], str]) -> None:
    """Take the image's version of a file, then one's own again, then put it back."""
    [undecided] = json.loads(await client.call("EtcConflicts"))["open"]
    assert "+my own motd\n" in undecided["diff_mine"]
    versions = json.loads(await client.call("GetEtcVersions", "/etc/motd"))
    assert b"my own motd" in base64.b64decode(versions["marked"])
    with pytest.raises(InvalidArgumentError):
        await client.call("ResetEtc", [])
    changed = await _do(client, "ResolveEtc", "/etc/motd", "theirs")
    assert motd().startswith("welcome to v2")
    [copy] = json.loads(await client.call("ListEtcCopies"))["copies"]
    assert copy["name"] == changed["kept_as"]
    await _do(client, "RestoreEtc", copy["name"], ["/etc/motd"])
    assert motd() == "my own motd\n"
    await _do(client, "ResetEtc", ["/etc/motd"])
    assert motd().startswith("welcome to v2")
    assert json.loads(await client.call("EtcConflicts"))["open"] == []


@pytest.mark.parametrize("library", LIBRARIES)
async def test_upgrade_conflict_rollback_and_deny_list(library: str):
    with _told(library) as story:
        first = story.machine.sysroot.booted()
        assert first is not None
        (story.machine.etc(first) / "motd").write_text("my own motd\n")
        async with story.up() as client:
            checked = await _do(client, "Check")
            assert (checked["update"], checked["image_version"]) == (True, "v2")
            assert (await client.get_property("Available"))["digest"] == checked["digest"]
            await _do(client, "Upgrade")
            staged = await _do(client, "PreviewEtc")
            assert staged["counts"]["conflicts"] == 1
            # Root reads what others may not.
            assert staged["conflicts"][0]["mine"]["type"] == "file"
            await _do(client, "Finalize")
            queued = await _deployment(client, "Queued")
            assert queued["EtcReport"]["conflicts"] == 1
            full = json.loads(await client.call("EtcConflicts"))["reports"][queued["Id"]]
            assert full["conflicts"][0]["path"] == "/etc/motd"
            assert full["conflicts"][0]["mine"]["digest"]
        second = story.machine.power_on()
        assert second == queued["Id"]
        async with story.up() as client:
            await _decide(client, (story.machine.etc(second) / "motd").read_text)
            assert (await _deployment(client, "Booted"))["Id"] == second
            assert (await _deployment(client, "Rollback"))["Id"] == first
            assert json.loads(await client.call("EtcDiff"))["kind"] == "EtcDiff"
            await _do(client, "Rollback", deployment=str(first))
            denied = json.loads(await client.call("ListDenied"))["denied"]
            assert [found["digest"] for found in denied] == [queued["Digest"]]
            assert await client.get_property("LastFallback") == {}, "a rollback is no failure"
            assert (await _deployment(client, "Queued"))["Id"] == first
        assert story.machine.power_on() == first
        async with story.up() as client:
            with pytest.raises(DeniedDigestError):
                await _do(client, "Upgrade")
            await _do(client, "Check")
            explained = json.loads(await client.call("Explain"))
            assert explained["reasons"][0] == "denied"
            await client.call("Allow", queued["Digest"])
            assert (await _do(client, "Upgrade"))["digest"] == queued["Digest"]
            assert DeploymentId((await _deployment(client, "Staged"))["Id"]) != second
        log = story.rig.log.read_text()
        for said in (
            f"{second} boots next",
            f"{first} boots next, by a rollback",
            "(stage) failed",
        ):
            assert said in log


@pytest.mark.parametrize(
    ("setting", "kind"), [("off", None), ("check", "check"), ("stage", "stage"), ("apply", "stage")]
)
async def test_timer_goes_as_far_as_it_is_told(setting: str, kind: str | None):
    with _told(LIBRARIES[0]) as story:
        story.configure(f'automatic = "{setting}"\n')
        async with story.up() as client:
            if kind is None:
                with pytest.raises(HeldError, match="switched off"):
                    await client.call("Upgrade", automatic=True)
            else:
                job = await client.follow_job(await client.call("Upgrade", automatic=True))
                assert (job.kind, job.state) == (kind, "done")
            state = await client.get_property("State")
            assert (state == "staged") == (kind == "stage")


async def test_hold_stops_the_timer_but_not_a_person():
    with _told(LIBRARIES[0]) as story:
        async with story.up() as client:
            await client.call("Hold", "release freeze")
            with pytest.raises(HeldError, match="release freeze"):
                await _do(client, "Upgrade", automatic=True)
            assert (await _do(client, "Upgrade"))["changed"] is True


async def test_new_image_replaces_the_staged_one():
    with _told(LIBRARIES[0]) as story:
        async with story.up() as client:
            one = await _do(client, "Upgrade")
            publish(story.machine.image, "v3")
            two = await _do(client, "Upgrade")
            assert one["deployment"] != two["deployment"]
            assert (await _deployment(client, "Staged"))["Id"] == two["deployment"]
            objects = await client.get_objects()
            known = {path for path in objects if "/deployment/" in path}
            assert len(known) == 2, "the replaced one is gone from the bus"


async def test_errors_of_the_client_are_bootd_s():
    with _told(LIBRARIES[0]) as story:
        async with story.up() as client:
            with pytest.raises(BootdError, match="NextYear"):
                await client.get_property("NextYear")


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_fallback_is_on_the_bus_and_its_digest_is_refused(library: str):
    with _told(library) as story:
        good = story.machine.sysroot.booted()
        staged = story.machine.upgrade()
        digest = story.machine.sysroot.read_deployment(staged).digest
        story.machine.reboot(healthy=False)
        for _ in range(3):
            boot(story.machine.sysroot)
        for _ in range(2):
            async with story.up() as client:
                assert (await _deployment(client, "Booted"))["Id"] == good
                fallback = await client.get_property("LastFallback")
                assert (fallback["digest"], fallback["cause"]) == (digest, "boot-failed")
                assert (await client.get_property("State")) == "idle"
                story.configure(f'image = "{story.machine.reference}"\n')
        async with story.up() as client:
            with pytest.raises(DeniedDigestError):
                await _do(client, "Upgrade", automatic=True)
            await client.call("Allow", digest)
            assert await client.get_property("LastFallback") == {}
        async with story.up() as client:
            assert await client.get_property("LastFallback") == {}
            assert (await _do(client, "Upgrade"))["digest"] == digest
