"""Faults of the D-Bus libraries that our adapter mends, with either library."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbus_next import Message, MessageType
from dbus_next.aio import MessageBus
from support import rough_service
from support.bus import LIBRARIES, environment_of, permissive_bus
from support.private_bus import wait_for_name

from bootd.daemon.dbus import names
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.client import BusClient
from bootd.daemon.dbus.wire import IncomingSignal, RemoteError
from bootd.model.errors import DaemonUnreachableError, InternalError

_TESTS = Path(__file__).parents[1]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with permissive_bus(tmp_path) as (address, _):
        yield address


@pytest.fixture(params=LIBRARIES)
def service(
    request: pytest.FixtureRequest, address: str, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**environment_of(address, request.param), "PYTHONPATH": str(_TESTS)}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-P", rough_service.__file__],
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=log,
        ) as process,
    ):
        try:
            wait_for_name("org.bootd1", environment)
            yield process
        finally:
            process.kill()


async def _ask(address: str, **fields: object) -> Message:
    bus = await MessageBus(bus_address=address, negotiate_unix_fd=True).connect()
    try:
        reply = await bus.call(Message(destination="org.bootd1", path=rough_service.PATH, **fields))
        assert reply is not None
        return reply
    finally:
        bus.disconnect()
        await asyncio.wait_for(bus.wait_for_disconnect(), 10)
        bus._stream.close()
        bus._sock.close()


async def test_burst_of_signals_arrives_whole(address: str, service: subprocess.Popen[bytes]):
    connection = await Connection.open(address)
    numbers: list[int] = []
    complete = asyncio.Event()

    def count(heard: IncomingSignal) -> None:
        if heard.member == "Noise":
            numbers.append(int(heard.arguments[0].split()[0]))
            assert len(heard.arguments[0]) == rough_service.SIZE
            if len(numbers) == rough_service.BURST:
                complete.set()

    connection.listen(count)
    await connection.ask_bus("AddMatch", "s", "type='signal',interface='org.bootd1.Test'")
    service.send_signal(signal.SIGUSR1)
    await complete.wait()
    assert numbers == list(range(rough_service.BURST))
    await connection.call("org.bootd1", rough_service.PATH, "org.freedesktop.DBus.Peer.Ping")
    await connection.close()


@pytest.mark.usefixtures("service")
async def test_unforeseen_error_tells_the_caller_nothing_inside(address: str, tmp_path: Path):
    connection = await Connection.open(address)
    with pytest.raises(RemoteError) as raised:
        await connection.call(
            "org.bootd1", rough_service.PATH, "org.bootd1.Job.Cancel", "a{sv}", {}
        )
    assert raised.value.name == InternalError.bus_name() == "org.bootd1.Error.Internal"
    assert raised.value.message == "Cancel failed: RuntimeError"
    assert "journal" in raised.value.hint
    assert "/a/secret/path" in (tmp_path / "log").read_text(), "the journal has the whole"
    await connection.close()


@pytest.mark.usefixtures("service")
async def test_call_without_an_interface(address: str):
    for member, expected in (("Ping", []), ("Introspect", None), ("GetManagedObjects", None)):
        reply = await _ask(address, member=member)
        if expected is not None:
            assert (reply.message_type, reply.body) == (MessageType.METHOD_RETURN, expected)
    reply = await _ask(address, member="Cancel", signature="a{sv}", body=[{}])
    assert reply.error_name == "org.bootd1.Error.Internal"
    reply = await _ask(address, member="Fly")
    assert reply.error_name == "org.freedesktop.DBus.Error.UnknownMethod"


async def test_file_descriptors_are_refused_and_none_leaks(
    address: str, service: subprocess.Popen[bytes]
):
    def opened() -> int:
        return len(list(Path(f"/proc/{service.pid}/fd").iterdir()))

    await _ask(address, member="Ping")
    before = opened()
    reader, writer = os.pipe()
    for _ in range(50):
        reply = await _ask(address, member="Ping", signature="h", body=[0], unix_fds=[reader])
        assert reply.error_name == "org.freedesktop.DBus.Error.NotSupported"
    os.close(reader)
    os.close(writer)
    assert opened() == before


@pytest.mark.usefixtures("service")
async def test_sender_and_flags_reach_the_handler(address: str, tmp_path: Path):
    connection = await Connection.open(address)
    for interactive in (False, True):
        with pytest.raises(RemoteError):
            await connection.call(
                "org.bootd1",
                rough_service.PATH,
                "org.bootd1.Job.Cancel",
                "a{sv}",
                {},
                interactive=interactive,
            )
        log = (tmp_path / "log").read_text()
        assert f"sender='{connection.unique_name}'" in log
        assert f"interactive={interactive}" in log
    await connection.close()


async def test_lost_bus_is_noticed(tmp_path: Path):
    with permissive_bus(tmp_path) as (address, pid):
        connection = await Connection.open(address)
        os.kill(pid, signal.SIGKILL)
        await connection.closed()
        with pytest.raises(DaemonUnreachableError, match="lost"):
            await connection.ask_bus("GetId")
        connection.emit("/x", "org.bootd1.Test.Noise", "s", "nobody hears it")
        await connection.close()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("where", ["unix:path=/nonexistent/bus", "nonsense", "carrier:pigeon=1"])
def test_no_bus_is_an_error_with_advice(library: str, where: str):
    script = (
        "import asyncio, sys; from bootd.daemon.dbus.bus import Connection\n"
        "from bootd.model.errors import DaemonUnreachableError\n"
        "try: asyncio.run(Connection.open(sys.argv[1]))\n"
        "except DaemonUnreachableError as error: print(error.message, error.hint)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", script, where],
        env=environment_of("", library),
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"no message bus answers at {where}" in done.stdout
    assert done.stderr == ""


_SLOW_BUS = """\
<busconfig>
  <listen>unix:path={folder}/bus</listen>
  <servicedir>{folder}</servicedir>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
  </policy>
  <limit name="service_start_timeout">2000</limit>
</busconfig>
"""
_SLOW_SERVICE = "[D-BUS Service]\nName=org.bootd1\nExec={folder}/start\n"
_SLOW_START = """\
#!/bin/sh
echo started >>{folder}/starts
[ $(wc -l <{folder}/starts) -gt {slow} ] || exec sleep 60
PYTHONPATH={tests} DBUS_SYSTEM_BUS_ADDRESS=unix:path={folder}/bus exec {python} -P {service}
"""


@pytest.fixture
def slow_to_start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A bus that gives the daemon two seconds to start, which is too little the first times."""
    places = {"folder": tmp_path, "slow": request.param, "tests": _TESTS}
    more = {"python": sys.executable, "service": rough_service.__file__}
    (tmp_path / "bus.conf").write_text(_SLOW_BUS.format(**places))
    (tmp_path / "org.bootd1.service").write_text(_SLOW_SERVICE.format(**places))
    (tmp_path / "start").write_text(_SLOW_START.format(**places, **more))
    (tmp_path / "start").chmod(0o755)
    command = ["dbus-daemon", f"--config-file={tmp_path}/bus.conf", "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield tmp_path
        finally:
            process.terminate()


@pytest.mark.parametrize("slow_to_start", [1], indirect=True)
async def test_slow_start_is_waited_for(slow_to_start: Path):
    client = await BusClient.connect(f"unix:path={slow_to_start}/bus")
    try:
        assert await client.get_properties(rough_service.PATH, names.JOB)
    finally:
        await client.close()
    # The second start, too, may take too long on a busy machine.
    assert 1 < (slow_to_start / "starts").read_text().count("started") <= 4


@pytest.mark.parametrize("slow_to_start", [9], indirect=True)
async def test_start_that_never_ends_is_an_error(slow_to_start: Path):
    client = await BusClient.connect(f"unix:path={slow_to_start}/bus")
    try:
        with pytest.raises(DaemonUnreachableError, match="does not answer"):
            await client.get_properties(rough_service.PATH, names.JOB)
    finally:
        await client.close()
    assert (slow_to_start / "starts").read_text().count("started") == 4
