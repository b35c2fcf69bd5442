"""The daemon's small parts: options, the service manager's socket, the journal's fields."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootd.daemon.dbus.options import take_options
from bootd.daemon.dbus.wire import Variant, options
from bootd.daemon.events.journal import announce
from bootd.daemon.events.notify import ServiceManager, watchdog_interval
from bootd.daemon.unattended.times import microseconds
from bootd.journal import journal_fields
from bootd.model.errors import InvalidArgumentError
from bootd.model.event import Event


@pytest.mark.parametrize("given", [{}, {"automatic": True}, {"deployment": "x"}])
def test_known_options(given: dict[str, object]):
    assert take_options(given, automatic=bool, deployment=str) == given


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"autumnal": True}, "unknown option 'autumnal'"),
        ({"automatic": 1}, "'automatic' must be a boolean"),
        ({"deployment": True}, "'deployment' must be a string"),
    ],
)
def test_wrong_options_are_named(given: dict[str, object], named: str):
    with pytest.raises(InvalidArgumentError, match=named):
        take_options(given, automatic=bool, deployment=str)


def test_options_are_sent_with_their_types():
    assert options({"a": True, "b": "x", "c": 3}) == {
        "a": Variant("b", True),
        "b": Variant("s", "x"),
        "c": Variant("t", 3),
    }


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC), 1_000_005),
        (datetime(1969, 1, 1, tzinfo=UTC), 0),
    ],
)
def test_times(when: datetime, expected: int):
    assert microseconds(when) == expected


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    address = str(tmp_path / "notify") if request.param == "path" else f"@bootd-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(address.replace("@", "\0") if request.param == "abstract" else address)
        datagrams.settimeout(10)
        yield datagrams


def test_service_manager_is_told(listener: socket.socket):
    manager = ServiceManager()
    manager.ready()
    manager.status("two\nlines")
    manager.alive()
    manager.stopping()
    told = [listener.recv(4_096) for _ in range(4)]
    assert told == [b"READY=1", b"STATUS=two lines", b"WATCHDOG=1", b"STOPPING=1"]


def test_reload_carries_the_monotonic_time(listener: socket.socket):
    ServiceManager().reloading()
    first, second = listener.recv(4_096).split(b"\n")
    assert first == b"RELOADING=1"
    assert second.startswith(b"MONOTONIC_USEC=")
    assert int(second.partition(b"=")[2]) > 0


def test_no_service_manager_is_fine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceManager().ready()


def test_deaf_service_manager_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    ServiceManager().ready()
    assert "could not be told READY=1" in caplog.text


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "180000000"}, 90.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": str(os.getpid())}, 90.0),
        ({"WATCHDOG_USEC": "180000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog(
    variables: dict[str, str], expected: float | None, monkeypatch: pytest.MonkeyPatch
):
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert watchdog_interval() == expected


def test_event_has_its_id_and_fields(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        announce(Event.STAGED, "it is staged", "registry.example/os:1", "sha256:ab", "ab.0")
    [record] = caplog.records
    fields = journal_fields(record)
    assert fields["MESSAGE_ID"] == Event.STAGED.value
    assert fields["PRIORITY"] == 5
    assert fields["BOOTD_IMAGE"] == "registry.example/os:1"
    assert fields["BOOTD_DEPLOYMENT"] == "ab.0"
    assert not [name for name in fields if name != name.upper()]


def test_event_of_a_job_is_found_with_what_the_job_logged(caplog: pytest.LogCaptureFixture):
    announce(Event.JOB_FAILED, "job 7 failed", "7", "stage", "no-space", "Free some.")
    [record] = caplog.records
    assert journal_fields(record)["JOB_ID"] == "7"


def test_event_takes_exactly_its_fields():
    with pytest.raises(ValueError, match="zip"):
        announce(Event.STAGED, "too few", "one")


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (logging.INFO, 6),
        (logging.DEBUG, 7),
    ],
)
def test_priorities(level: int, priority: int):
    record = logging.LogRecord("bootd.x", level, "f.py", 3, "m", (), None)
    assert journal_fields(record)["PRIORITY"] == priority


@pytest.mark.parametrize(
    ("to_journal", "expected"),
    [
        (False, b"bootd: first\\nsecond\nbootd: a\nValueError: b\n"),
        (True, b"<4>first\\nsecond\n<4>a\n<4>ValueError: b\n"),
    ],
)
def test_lines_where_the_journal_library_is_absent(
    to_journal: bool, expected: bytes, tmp_path: Path
):
    with (tmp_path / "log").open("wb+") as stream:
        found = os.fstat(stream.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        if not to_journal:
            del environment["JOURNAL_STREAM"]
        script = (
            "import sys; sys.modules['systemd.journal'] = None\n"
            "import logging; from bootd import journal; journal.set_up()\n"
            "logging.getLogger('x').warning('first\\nsecond')\n"
            "logging.getLogger('x').warning('a', exc_info=(ValueError, ValueError('b'), None))"
        )
        subprocess.run(
            [sys.executable, "-P", "-c", script], check=True, stderr=stream, env=environment
        )
    assert (tmp_path / "log").read_bytes() == expected
