"""The API as programs meet it: busctl, gdbus and a GLib client on a bus with the shipped policy."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.bus import (
    LIBRARIES,
    SYSTEM_PYTHON,
    Rig,
    environment_of,
    permissive_bus,
    rig,
    silent_registry,
)
from support.registry import faulty_registry

from bootd.daemon.dbus.client import BusClient, JobView
from bootd.model.errors import (
    BusyError,
    DaemonUnreachableError,
    DeploymentNeededError,
    ImageNotFoundError,
    InvalidArgumentError,
    InvalidReferenceError,
    NoSuchDeploymentError,
    NoSuchJobError,
    NothingStagedError,
    NotTheRunningMachineError,
)

_CHECKOUT = Path(__file__).parents[2]
_SUPPORT = _CHECKOUT / "tests/support"
_ADDRESS = ("org.bootd1", "/org/bootd1")


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def found(library: str) -> Iterator[Rig]:
    with rig() as made, made.daemon(BOOTD_DBUS_LIBRARY=library):
        yield made


def _canonical(element: ET.Element) -> object:
    return (
        element.tag,
        sorted(element.attrib.items()),
        [_canonical(child) for child in element],
    )


def _introspected(found: Rig, path: str) -> dict[str, ET.Element]:
    answer = found.run(
        "busctl",
        "--system",
        "--json=short",
        "call",
        "org.bootd1",
        path,
        "org.freedesktop.DBus.Introspectable",
        "Introspect",
    )
    root = ET.fromstring(json.loads(answer.stdout)["data"][0])
    return {element.get("name", ""): element for element in root.iter("interface")}


async def _switch(client: BusClient, found: Rig, version: str) -> JobView:
    path = await client.call("Switch", found.image(version))
    job = await client.follow_job(path)
    job.outcome()
    return job


async def test_introspection_is_exactly_the_shipped_xml(found: Rig):
    client = await BusClient.connect(found.address)
    job = await _switch(client, found, "1")
    [deployment] = [path for path in await client.get_objects() if "/deployment/" in path]
    await client.close()
    for path, name in (
        ("/org/bootd1", "org.bootd1.Manager"),
        (deployment, "org.bootd1.Deployment"),
        (job.path, "org.bootd1.Job"),
    ):
        shipped = ET.parse(_CHECKOUT / f"dbus/{name}.xml").getroot().find("interface")
        assert _canonical(_introspected(found, path)[name]) == _canonical(shipped)
    for path in ("/org/bootd1", deployment, job.path):
        shown = found.run("busctl", "--system", "introspect", "org.bootd1", path)
        assert "emits-change" in shown.stdout
        found.run("gdbus", "introspect", "--system", "--dest", "org.bootd1", "--object-path", path)
    tree = found.run("busctl", "--system", "--list", "tree", "org.bootd1").stdout.split()
    assert {"/org/bootd1", deployment, job.path} <= set(tree)


def test_busctl_and_gdbus_read_and_call(found: Rig):
    shown = found.run(
        "busctl", "--system", "get-property", *_ADDRESS, "org.bootd1.Manager", "State"
    )
    assert shown.stdout == 's "idle"\n'
    answered = found.run(
        *("gdbus", "call", "--system", "--dest", "org.bootd1", "--object-path", "/org/bootd1"),
        *("--method", "org.bootd1.Manager.GetStatus", "{}"),
    )
    assert '"kind":"Status"' in answered.stdout
    refused = found.call("Check", "a{sv}", "1", "speed", "s", "high", status=1)
    assert "unknown option 'speed'" in refused.stderr


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (("org.bootd1.Manager", "Fly"), "Unknown method|there is no org.bootd1.Manager.Fly"),
        (("org.bootd1.Manager", "Check"), "Check takes 'a{sv}', and was called with ''"),
        (("org.bootd1.Manager", "Check", "s", "x"), "was called with 's'"),
        (("org.freedesktop.DBus.Properties", "Get", "ss", "org.bootd1.Manager", "X"), "property"),
        (("org.freedesktop.DBus.Properties", "Get", "ss", "org.bootd1.Wing", "X"), "interface"),
        (
            (
                *("org.freedesktop.DBus.Properties", "Set", "ssv"),
                *("org.bootd1.Manager", "State", "s", "good"),
            ),
            "cannot be set",
        ),
    ],
)
def test_what_is_wrong_is_said(call: tuple[str, ...], error: str):
    with rig() as made, made.daemon():
        done = made.run("busctl", "--system", "call", *_ADDRESS, *call, status=1)
        assert re.search(error, done.stderr)


@pytest.mark.parametrize(
    "call",
    [
        ("Switch", "sa{sv}", "docker://me:SECRET@os.example/os:1", "0"),
        ("Stage", "sa{sv}", "me:SECRET@os.example/os:1", "0"),
        ("Stage", "sa{sv}", "me:SECRET@os.example/os:1\n", "0"),
        ("Upgrade", "a{sv}", "1", "from", "s", "https://me:SECRET@os.example/os:1"),
    ],
)
def test_a_password_in_a_reference_is_refused_to_its_caller_alone(call: tuple[str, ...]):
    with rig() as made, made.daemon(SYSTEMD_LOG_LEVEL="debug"):
        refused = made.call(*call, status=1)
        assert "user name or password" in refused.stderr
        objects = made.run(
            *("busctl", "--system", "call", "org.bootd1", "/org/bootd1"),
            *("org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
        )
        assert "/job/" not in objects.stdout
        assert "SECRET" not in objects.stdout + refused.stderr + made.log.read_text()


def test_an_update_from_elsewhere_is_not_automatic():
    with rig() as made, made.daemon():
        refused = made.call(
            *("Upgrade", "a{sv}", "2", "automatic", "b", "true", "from", "s", "oci:/srv/os"),
            status=1,
        )
        assert "exclude each other" in refused.stderr


async def test_jobs_use_the_proxy_of_the_daemons_environment():
    with faulty_registry() as proxy, rig() as made:
        folder = made.sysroot / "etc/containers"
        folder.mkdir(parents=True)
        (folder / "registries.conf").write_text(
            '[[registry]]\nlocation = "registry.invalid"\ninsecure = true\n'
        )
        url = f"http://me:SECRET@{proxy.host}"
        environment = {"http_proxy": url, "https_proxy": url, "SYSTEMD_LOG_LEVEL": "debug"}
        with made.daemon(**environment):
            client = await BusClient.connect(made.address)
            path = await client.call("Stage", "registry.invalid/os/image:1")
            with pytest.raises(ImageNotFoundError):
                (await client.follow_job(path)).outcome()
            await client.close()
        assert proxy.count(r"GET http://registry\.invalid/v2/os/image/manifests/1")
        assert "SECRET" not in made.log.read_text()


def test_unknown_object():
    with rig() as made, made.daemon():
        done = made.run(
            *("busctl", "--system", "call", "org.bootd1", "/org/bootd1/job/7"),
            *("org.bootd1.Job", "Cancel", "a{sv}", "0"),
            status=1,
        )
        assert "there is no object /org/bootd1/job/7" in done.stderr


async def test_client_sees_a_whole_upgrade(found: Rig):
    client = await BusClient.connect(found.address)
    heard: list[str] = []
    client.watch(lambda signal: heard.append("gone" if signal is None else signal.member))
    views: list[JobView] = []
    path = await client.call("Switch", found.image("1"))
    job = await client.follow_job(path, views.append)
    assert (job.state, job.progress, job.kind, job.requester) == ("done", 1.0, "stage", 0)
    assert [view.progress for view in views] == sorted(view.progress for view in views)
    staged = json.loads(job.outcome())
    assert staged["kind"] == "Stage"
    properties = await client.get_properties()
    assert properties["State"] == "staged"
    assert properties["RebootRequired"] is True
    assert properties["Image"] == staged["image"]
    objects = await client.get_objects()
    assert objects[properties["Staged"]]["org.bootd1.Deployment"]["Id"] == staged["deployment"]
    finalized = await client.follow_job(await client.call("Finalize"))
    assert json.loads(finalized.outcome())["deployment"] == staged["deployment"]
    assert await client.get_property("Queued") == properties["Staged"]
    deployment = await client.get_properties(properties["Staged"], "org.bootd1.Deployment")
    assert deployment["State"] == "queued"
    assert deployment["NextBoot"] is True
    assert {"JobNew", "JobRemoved", "PropertiesChanged", "InterfacesAdded"} <= set(heard)
    assert [found.id for found in await client.get_jobs()] == [1, 2]
    await client.close()


async def test_client_gets_errors_as_they_were_raised(found: Rig):
    client = await BusClient.connect(found.address)
    await _switch(client, found, "1")
    for error, member, arguments, options in (
        (InvalidArgumentError, "Check", (), {"speed": "high"}),
        (InvalidArgumentError, "Pin", ("no-id",), {}),
        (NoSuchDeploymentError, "Pin", ("0123456789abcdef.0",), {}),
        (InvalidArgumentError, "Hold", ("",), {}),
        (NotTheRunningMachineError, "Apply", (), {}),
        (InvalidReferenceError, "Switch", ("UPPER/case:tag",), {}),
    ):
        with pytest.raises(error) as raised:
            await client.call(member, *arguments, **options)
        assert raised.value.hint
    absent = f"oci:{found.folder}/image:absent"
    job = await client.follow_job(await client.call("Switch", absent))
    assert job.state == "failed"
    with pytest.raises(ImageNotFoundError):
        job.outcome()
    await client.call("Unstage")
    job = await client.follow_job(await client.call("PreviewEtc"))
    with pytest.raises(NothingStagedError):
        job.outcome()
    with pytest.raises(NoSuchJobError):
        await client.get_job("/org/bootd1/job/99")
    with pytest.raises(NoSuchJobError):
        await client.cancel("/org/bootd1/job/99")
    await client.close()


async def test_every_quick_method(found: Rig):
    client = await BusClient.connect(found.address)
    job = await _switch(client, found, "1")
    identifier = json.loads(job.result)["deployment"]
    with pytest.raises(InvalidArgumentError, match="staged"):
        await client.call("Pin", identifier)
    await client.call("Unpin", identifier)
    await client.call("Hold", "the tests")
    assert await client.get_property("HeldBy") == "the tests"
    explained = json.loads(await client.call("Explain"))
    assert explained["reasons"] == ["held", "staged"]
    await client.call("Release")
    for member, kind in (
        ("EtcConflicts", "EtcConflicts"),
        ("ListEtcCopies", "EtcCopies"),
        ("ListDenied", "Denied"),
        ("GetHistory", "History"),
        ("GetStatus", "Status"),
        ("GetBootUsage", "BootUsage"),
    ):
        assert json.loads(await client.call(member))["kind"] == kind
    for member in ("Check", "Fsck", "PreviewEtc", "Cleanup", "Upgrade"):
        job = await client.follow_job(await client.call(member))
        assert json.loads(job.outcome())["version"] == 1, member
    assert (await client.get_property("LastCheck"))["version"] == "1"
    assert not await client.get_property("Available")
    await client.call("Unstage")
    assert await client.get_property("Staged") == "/"
    await client.close()


async def test_what_boots_can_be_pinned(found: Rig):
    client = await BusClient.connect(found.address)
    job = await _switch(client, found, "1")
    identifier = json.loads(job.result)["deployment"]
    await client.follow_job(await client.call("Finalize"))
    await client.call("Pin", identifier)
    path = await client.get_property("Queued")
    assert await client.get_property("Pinned", path, "org.bootd1.Deployment") is True
    job = await client.follow_job(await client.call("Forget", identifier))
    with pytest.raises(DeploymentNeededError, match="pinned"):
        job.outcome()
    await client.close()


async def test_one_job_at_a_time(found: Rig):
    client = await BusClient.connect(found.address)
    with silent_registry() as reference:
        first = await client.call("Switch", reference)
        assert await client.call("Switch", reference) == first
        with pytest.raises(BusyError, match=r"job 1 \(stage\) is running"):
            await client.call("Cleanup")
        while await client.get_property("State") != "checking":
            pass
        await client.call("Hold", "me")
        waiting = await client.get_job(await client.call("Check"))
        assert (waiting.state, waiting.running) == ("waiting", True)
        await client.cancel(first)
        job = await client.follow_job(first)
        assert (job.state, job.error[0]) == ("cancelled", "cancelled")
        await client.cancel(first)
    await _switch(client, found, "1")
    await client.close()


async def test_follower_learns_that_the_daemon_died(library: str):
    with rig() as made, made.daemon(BOOTD_DBUS_LIBRARY=library) as process:
        client = await BusClient.connect(made.address)
        with silent_registry() as reference:
            path = await client.call("Switch", reference)
            process.kill()
            with pytest.raises(DaemonUnreachableError):
                await client.follow_job(path)
        with pytest.raises(DaemonUnreachableError):
            await client.call("GetStatus")
        await client.close()


def test_monitor_shows_the_signals(tmp_path: Path):
    members: list[str] = []
    with permissive_bus(tmp_path) as (address, _):
        made = Rig(tmp_path, dict(environment_of(address)))
        made.sysroot.mkdir()
        # Newer ones do not say that they listen where JSON is asked for.
        command = ["busctl", "--system", "monitor", "org.bootd1"]
        with (
            made.daemon(),
            subprocess.Popen(
                command,
                env=made.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            assert process.stderr is not None
            assert "Monitoring" in process.stderr.readline()
            made.call("Switch", "sa{sv}", made.image("1"), "0")
            while "JobRemoved" not in members:
                line = process.stdout.readline()
                assert line, "the monitor ended"
                members += re.findall(r"Member=(\w+)", line)
            process.terminate()
    assert [name for name in members if name.startswith("Job")] == ["JobNew", "JobRemoved"]
    assert "PropertiesChanged" in members


def test_glib_client_follows_a_job_to_its_end(found: Rig):
    done = found.run(SYSTEM_PYTHON, str(_SUPPORT / "glib_client.py"), found.image("1"))
    seen = json.loads(done.stdout)
    assert seen["before"] == "idle"
    assert seen["states"][-1] == "staged"
    assert seen["progress"] == sorted(seen["progress"])
    assert seen["progress"][-1] == 1.0
    assert seen["job"]["State"] == "done"
    assert seen["job"]["Error"] == ["", "", ""]
    result = json.loads(seen["job"]["Result"])
    assert seen["after"]["State"] == "staged"
    assert seen["after"]["RebootRequired"] is True
    assert seen["after"]["Staged"].endswith(result["deployment"].replace(".", "_2e"))
    assert seen["staged"] == [seen["after"]["Staged"]]
    assert [name for name, *_ in seen["signals"]] == ["JobNew", "JobRemoved"]
    assert seen["objects"] == [seen["after"]["Staged"], "/org/bootd1/job/1"]
