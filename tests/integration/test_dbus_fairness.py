"""Many callers at once: nobody keeps others from the daemon, root and the timer least of all."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.bus import LIBRARIES, SYSTEM_PYTHON, Rig, as_user, polkit, rig

from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.callers import MAX_PENDING, MAX_QUESTIONS
from bootd.daemon.dbus.server import ObjectServer
from bootd.daemon.dbus.wire import IncomingCall
from bootd.daemon.events.notify import ServiceManager
from bootd.daemon.machine import Machine
from bootd.daemon.service import Service

_SUPPORT = Path(__file__).parents[1] / "support"
_TIMER = ("upgrade", "--automatic", "--quiet")


@contextmanager
def caller(
    found: Rig, script: str, *words: str, user: str = "nobody"
) -> Iterator[subprocess.Popen[str]]:
    """Run a script of `support` as another user, who can enter the bus's folder alone."""
    copied = shutil.copy(_SUPPORT / script, found.folder)
    with subprocess.Popen(
        [*as_user(user), SYSTEM_PYTHON, copied, *words],
        env=found.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str], number: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(number)]


def bootctl(found: Rig, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("bootctl-py")), *words]
    return subprocess.run(
        command, env=found.environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_questions_without_an_answer_are_their_user_s_alone(library: str):
    with rig() as made, polkit(made, ""), made.daemon(BOOTD_DBUS_LIBRARY=library):
        assert bootctl(made, "switch", made.image("1")).returncode == 0
        with caller(made, "silent_agent.py", "40") as process:
            lines = said(process, 40)
            assert lines.count("BeginAuthentication") == MAX_QUESTIONS
            refused = {line for line in lines if line.startswith("refused")}
            assert all("wait for leave already" in line for line in refused), refused
            # The same user reads; root and others do whatever they like.
            for user in ("nobody", "daemon", None):
                made.call("GetStatus", "a{sv}", "0", user=user)
                made.call("Explain", "a{sv}", "0", user=user)
            made.call("Hold", "sa{sv}", "me", "0")
            made.call("Release", "a{sv}", "0")
            with caller(made, "silent_agent.py", "1", user="daemon") as other:
                assert said(other, 1) == ["BeginAuthentication"]
            assert bootctl(made, *_TIMER).returncode == 0


def test_a_flood_of_calls_is_its_user_s_alone():
    with rig() as made, made.daemon():
        assert bootctl(made, "switch", made.image("1")).returncode == 0
        with caller(made, "calling_again.py", str(5 * MAX_PENDING)) as process:
            assert said(process, 1) == ["ready"]
            for user in ("daemon", None):
                made.call("GetStatus", "a{sv}", "0", user=user)
            done = bootctl(made, *_TIMER)
            assert done.returncode == 0, done.stderr
            assert process.poll() is None


def test_calls_too_many_are_refused_as_such():
    script = (
        "import asyncio, collections, os\n"
        "from bootd.daemon.dbus import interfaces\n"
        "from bootd.daemon.dbus.client import BusClient\n"
        "from bootd.model.errors import BusyError\n"
        "async def main():\n"
        "    client = await BusClient.connect()\n"
        "    calls = [client.call('GetStatus') for _ in range(300)]\n"
        "    answers = await asyncio.gather(*calls, return_exceptions=True)\n"
        "    print(*sorted(collections.Counter(type(one).__name__ for one in answers).items()))\n"
        "    await client.call('GetStatus')\n"
        "    await client.close()\n"
        "interfaces.load('org.bootd1.Manager')  # while our files can still be read\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "asyncio.run(main())"
    )
    with rig() as made, made.daemon():
        done = made.run(sys.executable, "-P", "-c", script)
    assert "('BusyError', " in done.stdout
    assert "('str', " in done.stdout


@pytest.mark.parametrize("how", ["asking", "leaving", "guessing"])
async def test_while_root_is_answered_no_other_call_begins_to_be(
    how: str, monkeypatch: pytest.MonkeyPatch
):
    """Two of a user's calls may be under way already, so root waits three times as long at most."""
    others, meanwhile = 0, []
    handle = ObjectServer._handle

    async def counted(server: ObjectServer, call: IncomingCall) -> None:
        nonlocal others
        before = others = others + (call.sender != root.unique_name)
        await handle(server, call)
        if call.sender == root.unique_name:
            meanwhile.append(others - before)

    monkeypatch.setattr(ObjectServer, "_handle", counted)
    with rig() as made:
        connection, root = [await Connection.open(made.address) for _ in range(2)]
        service = Service(connection, Machine(made.sysroot), ServiceManager())
        await service.start()
        with caller(made, "crowd.py", how, "1000", "4") as process:
            assert await asyncio.to_thread(said, process, 1) == ["ready"]
            for _ in range(30):
                manager = "org.bootd1.Manager.GetStatus"
                await root.call("org.bootd1", "/org/bootd1", manager, "a{sv}", {})
            assert process.poll() is None
        await service.stop()
        await root.close()
        await connection.close()
    assert (others > 30) is (how != "guessing"), "a method that is not there is never begun"
    assert meanwhile == [0] * 30


async def test_a_question_has_an_end():
    with rig() as made, polkit(made, ""):
        connection = await Connection.open(made.address)
        service = Service(connection, Machine(made.sysroot), ServiceManager())
        service._authority._patience = 0.5
        await service.start()
        with caller(made, "silent_agent.py", "1") as process:
            lines = await asyncio.to_thread(said, process, 3)
        await service.stop()
        await connection.close()
    assert lines[0] == "BeginAuthentication"
    assert min(lines[1:]) == "CancelAuthentication"
    assert "nobody gave a password for org.bootd1.cleanup" in max(lines[1:])


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("member", "signature", "error"),
    [
        ("GetStatus", "au", "takes 'a{sv}', and was called with 'au'"),
        ("ResolveEtc", "ssa{sv}", "takes 1048576 bytes of arguments"),
        ("Hold", "sa{sv}", "takes 65536 bytes of arguments"),
    ],
)
async def test_a_large_message_is_refused_unread(
    library: str, member: str, signature: str, error: str
):
    def used(process: subprocess.Popen[bytes]) -> float:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    script = (
        "import os, sys\n"
        "from gi.repository import Gio, GLib\n"
        "flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT"
        " | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION\n"
        "address = os.environ['DBUS_SYSTEM_BUS_ADDRESS']\n"
        "bus = Gio.DBusConnection.new_for_address_sync(address, flags, None, None)\n"
        "size = 16_000_000\n"
        "if sys.argv[2] == 'au':\n"
        "    kind = GLib.VariantType.new('(au)')\n"
        "    many = GLib.Variant.new_from_bytes(kind, GLib.Bytes.new(bytes(size)), True)\n"
        "else:\n"
        "    text = sys.argv[2].count('s') - 1\n"
        "    many = GLib.Variant('(' + sys.argv[2] + ')', (*['x' * size] * text, {}))\n"
        "try: bus.call_sync('org.bootd1', '/org/bootd1', 'org.bootd1.Manager', sys.argv[1], many,"
        " None, 0, 60_000, None)\n"
        "except GLib.Error as error: print(error.message)"
    )
    size = "10_000_000" if member == "ResolveEtc" else "16_000_000"
    with rig() as made, made.daemon(BOOTD_DBUS_LIBRARY=library) as process:
        made.call("GetStatus", "a{sv}", "0")
        before = used(process)
        words = (SYSTEM_PYTHON, "-c", script.replace("16_000_000", size), member, signature)
        done = made.run(*words, user="nobody")
        assert error in done.stdout
        # Processor time, which waiting does not add to; to unpack it would take ten seconds.
        assert used(process) - before < 1.0
        made.call("GetStatus", "a{sv}", "0", user="nobody")
