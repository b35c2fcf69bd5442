"""The daemon as a process: start, end, signals of life, and what survives its sudden death."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bus import LIBRARIES, Rig, rig, silent_registry

from bootd.daemon.dbus.client import BusClient

_DAEMON = str(Path(sys.executable).with_name("bootd"))
_MOST_KIB = 60 << 10


@pytest.fixture
def found() -> Iterator[Rig]:
    with rig() as made:
        yield made


def _start_and_fail(found: Rig, *arguments: str, status: int = 1) -> str:
    return found.run(_DAEMON, "--sysroot", str(found.sysroot), *arguments, status=status).stderr


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _wait_for(found: Rig, name: str, value: str) -> None:
    manager = ("org.bootd1", "/org/bootd1", "org.bootd1.Manager")
    words = ("busctl", "--system", "get-property", *manager, name)
    while f'"{value}"' not in found.run(*words).stdout:
        pass


async def _stage(found: Rig, version: str) -> str:
    client = await BusClient.connect(found.address)
    job = await client.follow_job(await client.call("Switch", found.image(version)))
    await client.close()
    return str(json.loads(job.outcome())["deployment"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_service_manager_hears_the_whole_life(found: Rig, library: str):
    address = str(found.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(address)
        datagrams.settimeout(30)

        def hear(start: str) -> list[str]:
            heard = [datagrams.recv(4_096).decode()]
            while not heard[-1].startswith(start):
                heard.append(datagrams.recv(4_096).decode())
            return heard

        with found.daemon(
            NOTIFY_SOCKET=address, WATCHDOG_USEC="200000", BOOTD_DBUS_LIBRARY=library
        ) as process:
            before = hear("READY=1")
            assert before[0] == "STATUS=idle: no image"
            hear("WATCHDOG=1")
            hear("WATCHDOG=1")
            found.call("Switch", "sa{sv}", found.image("1"), "0")
            hear("STATUS=staged: oci:")
            process.send_signal(signal.SIGHUP)
            assert "\nMONOTONIC_USEC=" in hear("RELOADING=1")[-1]
            hear("READY=1")
            process.terminate()
            hear("STOPPING=1")
            assert process.wait(30) == 0


def test_reload_takes_up_the_configuration(found: Rig):
    settings = found.sysroot / "etc/bootd/bootd.toml"
    settings.parent.mkdir(parents=True)
    with found.daemon() as process:
        found.call("Stage", "sa{sv}", found.image("1"), "0")
        _wait_for(found, "State", "staged")
        settings.write_text('image = "registry.example/os:1"\n')
        process.send_signal(signal.SIGHUP)
        _wait_for(found, "Image", "registry.example/os:1")
        settings.write_text("image = 7\n")
        process.send_signal(signal.SIGHUP)
        while "stays in force" not in found.log.read_text():
            pass
        _wait_for(found, "Image", "registry.example/os:1")


def test_what_others_change_on_disk_is_seen(found: Rig):
    with found.daemon():
        found.call("Switch", "sa{sv}", found.image("1"), "0")
        _wait_for(found, "State", "staged")
        script = (
            "import sys; from pathlib import Path; from bootd.operations.host import open_host\n"
            "from bootd.operations.hold import hold\nhold(open_host(Path(sys.argv[1])), 'outside')"
        )
        found.run(sys.executable, "-P", "-c", script, str(found.sysroot))
        assert '\\"held_by\\":\\"outside\\"' in found.call("GetStatus", "a{sv}", "0").stdout


def test_bad_configuration_does_not_keep_it_down(found: Rig):
    settings = found.sysroot / "etc/bootd/bootd.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("tries = 77\n")
    with found.daemon():
        found.call("Stage", "sa{sv}", found.image("1"), "0")
        _wait_for(found, "State", "staged")
        assert "tries = 77" in found.call("GetStatus", "a{sv}", "0").stdout


def test_a_mistyped_image_is_no_failing_update(found: Rig):
    with found.daemon():
        found.call("Stage", "sa{sv}", found.image("1"), "0")
        _wait_for(found, "State", "staged")
        found.call("Stage", "sa{sv}", "oci:/nowhere:1", "0")
        while "(stage) failed" not in found.log.read_text():
            pass
        assert '\\"failing\\":null' in found.call("GetStatus", "a{sv}", "0").stdout


def test_second_daemon_fails_and_the_first_goes_on(found: Rig):
    with found.daemon():
        said = _start_and_fail(found)
        assert "another bootd owns org.bootd1 on this bus" in said
        found.call("GetStatus", "a{sv}", "0")


def test_second_daemon_on_another_bus_is_kept_from_changing(found: Rig):
    with rig() as other:
        second = Rig(found.folder, other.environment)
        with found.daemon(), silent_registry() as reference:
            found.call("Switch", "sa{sv}", reference, "0")
            _wait_for(found, "State", "checking")
            with second.daemon():
                done = second.run("bootctl-py", "cleanup", status=6)
                assert "another process is working on this machine's store" in done.stderr
                second.call("Hold", "sa{sv}", "me", "0")


def test_no_bus(found: Rig):
    said = _start_and_fail(found, "--bus", "unix:path=/nonexistent/bus")
    assert "no message bus answers at unix:path=/nonexistent/bus" in said


def test_bus_policy_keeps_others_from_being_the_daemon(found: Rig):
    # All that is loaded later is loaded first: this user may not see the checkout.
    script = (
        "import concurrent.futures.thread, os, sys, pydantic\n"
        "from bootd.daemon import main; from bootd.daemon.dbus import interfaces\n"
        "pydantic.create_model('Model')\n"
        "[interfaces.load(f'org.bootd1.{name}') for name in ('Manager', 'Deployment', 'Job')]\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(main.main(['--sysroot', sys.argv[1]]))"
    )
    done = found.run(sys.executable, "-P", "-c", script, str(found.sysroot), status=1)
    assert "does not let this user own org.bootd1" in done.stderr


@pytest.mark.parametrize("library", LIBRARIES)
def test_loss_of_the_bus_ends_it(library: str):
    with rig() as made:
        pid = int(
            made.run(
                *("busctl", "--system", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus"),
                *("org.freedesktop.DBus", "GetConnectionUnixProcessID", "s"),
                "org.freedesktop.DBus",
            ).stdout.split()[1]
        )
        with made.daemon(BOOTD_DBUS_LIBRARY=library) as process, silent_registry() as reference:
            made.call("Switch", "sa{sv}", reference, "0")
            os.kill(pid, signal.SIGKILL)
            assert process.wait(60) == 1
        assert "the connection to the message bus is lost" in made.log.read_text()
        assert "Traceback" not in made.log.read_text()


def test_end_cancels_the_job(found: Rig):
    with found.daemon() as process, silent_registry() as reference:
        found.call("Switch", "sa{sv}", reference, "0")
        while not (children := _children(process.pid)):
            pass
        process.terminate()
        assert process.wait(60) == 0
        assert not Path(f"/proc/{children[0]}").exists()


async def test_sudden_death_ends_the_job_and_costs_nothing(found: Rig):
    with found.daemon() as process:
        staged = await _stage(found, "1")
        with silent_registry() as reference:
            found.call("Switch", "sa{sv}", reference, "0")
            while not (children := _children(process.pid)):
                pass
            child = os.pidfd_open(children[0])
            process.kill()
            process.wait()
            # A pidfd becomes readable when its process has ended.
            assert select.select([child], [], [], 60)[0], "the job outlives its daemon"
            os.close(child)
    (found.sysroot / "run/bootd/staged.json").unlink()  # as a power cut does
    with found.daemon():
        client = await BusClient.connect(found.address)
        properties = await client.get_properties()
        assert properties["State"] == "staged"
        assert properties["Staged"].endswith(staged.replace(".", "_2e"))
        job = await client.follow_job(await client.call("Finalize"))
        assert json.loads(job.outcome())["deployment"] == staged
        await client.close()
    assert "the last shutdown did not make it boot next" in found.log.read_text()


def test_idle_daemon_is_small(found: Rig):
    with found.daemon() as process:
        found.call("Switch", "sa{sv}", found.image("1"), "0")
        _wait_for(found, "State", "staged")
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        [resident] = [int(line.split()[1]) for line in lines if line.startswith("VmRSS")]
        assert resident < _MOST_KIB


def test_damaged_record_is_named_and_the_daemon_runs(found: Rig):
    with found.daemon():
        found.call("Switch", "sa{sv}", found.image("1"), "0")
        _wait_for(found, "State", "staged")
    (found.sysroot / "bootd/intent.json").write_text("{")
    with found.daemon():
        status = found.call("GetStatus", "a{sv}", "0")
        assert "intent.json is not JSON" in status.stdout


def test_version_and_help():
    for word in ("--version", "--help"):
        done = subprocess.run([_DAEMON, word], check=True, capture_output=True, text=True)
        assert "bootd" in done.stdout
