"""Automatic runs: the daemon tries again by itself, and what asked for one can end it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.bus import Rig, rig
from support.images import build_image, tar_layer
from support.machine import image_files
from support.registry import FaultyRegistry, faulty_registry

from bootd.clock import Clock
from bootd.daemon.unattended.wake_timer import WakeTimer
from bootd.daemon.worker import Worker
from bootd.model.attempts import Attempt, Attempts
from bootd.model.errors import RateLimitedError
from bootd.operations.machine.attempts import read_attempts
from bootd.registry.settings import RegistrySettings
from bootd.registry.wire.retry import Backoff, TemporaryFailure
from bootd.sysroot import Sysroot

BIN = Path(sys.executable).parent
PATIENCE = 600
"""Times a tenth of a second."""


class Box:
    """A machine in a folder that follows an image of a registry on loopback."""

    def __init__(self, made: Rig, registry: FaultyRegistry) -> None:
        self.rig, self.registry = made, registry
        settings = made.sysroot / "etc/bootd/bootd.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(f'image = "{registry.reference(tag="latest")}"\n')
        registry.configure(made.sysroot)

    def release(self, version: str) -> None:
        labels = {"org.opencontainers.image.version": version}
        image = build_image([tar_layer(image_files(version))], labels=labels)
        self.registry.add_image(image, tag="latest")

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "bootctl-py"), *words],
            env=self.rig.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    @property
    def known(self) -> Attempts:
        return read_attempts(Sysroot.at(self.rig.sysroot))

    def remember(self, outcome: str, ago: timedelta, **more: object) -> None:
        """Let the last run have ended like that, a while ago."""
        when = datetime.now(UTC).replace(microsecond=0) - ago
        attempt = Attempt(when=when, operation="stage", outcome=outcome, message="why", **more)  # type: ignore[arg-type]
        known = Attempts(recent=[attempt], last_run=attempt, in_a_row=1, first_failure=when)
        (self.rig.sysroot / "bootd/attempts.json").write_text(known.model_dump_json())

    def staged(self) -> str | None:
        return json.loads(self.cli("status", "--json", "short").stdout)["staged"]

    def jobs(self) -> list[str]:
        return [
            one["state"] for one in json.loads(self.cli("jobs", "--json", "short").stdout)["jobs"]
        ]


@pytest.fixture
def box() -> Iterator[Box]:
    with rig() as made, faulty_registry() as registry:
        one = Box(made, registry)
        one.release("v1")
        with made.daemon():
            assert one.cli("upgrade", "--automatic", "--quiet").returncode == 0
        yield one


def test_a_run_that_failed_is_made_again_without_anybody_asking(box: Box):
    box.release("v2")
    box.remember("server-failed", timedelta(seconds=50))
    with box.rig.daemon():
        before = box.staged()
        for _ in range(PATIENCE):
            if box.known.in_a_row == 0:
                break
            time.sleep(0.1)
        known = box.known
        assert known.last_run is not None
        assert (known.last_run.outcome, known.last_run.automatic) == ("done", True)
        assert box.staged() != before
        # It is made once, and that all is well again is told once.
        assert len(known.recent) == 2
        assert box.cli("check").returncode == 0
    log = box.rig.log.read_text()
    assert log.count("looking for an update works again, after 1 that failed") == 1


def test_what_the_timer_asks_waits_for_its_time_and_tells_the_failure(box: Box):
    ask = ("upgrade", "--automatic", "--when-due")
    with box.rig.daemon():
        done = box.cli(*ask)
        assert (done.returncode, "Nothing to do" in done.stdout) == (0, True), done.stderr
    until = datetime.now(UTC) + timedelta(hours=3)
    box.remember("rate-limited", timedelta(seconds=50), not_before=until)
    with box.rig.daemon():
        done = box.cli(*ask)
        assert done.returncode == RateLimitedError.exit_status
        assert "the next run is planned for" in done.stderr
        assert done.stderr.count("why") == 1
        assert box.cli("upgrade", "--when-due").returncode == 2
    # A minute after it failed the next run is due.
    box.remember("server-failed", timedelta(minutes=1))
    with box.rig.daemon():
        assert box.cli(*ask, "--quiet").returncode == 0
    assert box.known.in_a_row == 0


def test_what_fails_the_same_way_is_announced_once(box: Box):
    box.release("v2")
    box.registry.fail("manifests/", times=-1, status=401)
    with box.rig.daemon():
        for _ in range(3):
            assert box.cli("upgrade", "--automatic").returncode == 1
        # Who asks is told, each time.
        assert box.cli("upgrade").returncode == 1
    log = box.rig.log.read_text()
    assert log.count("(stage) failed: ") == 2
    assert log.count("(stage) failed again: ") == 2


def test_everybody_learns_when_the_next_run_is(box: Box):
    until = (datetime.now(UTC) + timedelta(hours=3)).replace(microsecond=0)
    box.remember("rate-limited", timedelta(seconds=50), not_before=until)
    with box.rig.daemon():
        for _ in range(PATIENCE):
            planned = json.loads(box.cli("status", "--json", "short").stdout)["next_run"]
            if planned is not None:
                break
            time.sleep(0.1)
        assert planned["why"] == "retry"
        when = datetime.fromisoformat(planned["when"])
        assert until <= when <= until + timedelta(minutes=6)
        for verb in ("why", "history"):
            assert json.loads(box.cli(verb, "--json", "short").stdout)["next_run"] == planned
            assert f"{when:%Y-%m-%d %H:%M} UTC, because the last one failed" in box.cli(verb).stdout
        found = box.rig.run(
            *("busctl", "--system", "get-property", "org.bootd1", "/org/bootd1"),
            *("org.bootd1.Manager", "NextCheck"),
        ).stdout
        assert found == f"t {int(when.timestamp()) * 1_000_000}\n"
        # Words of errors are not for everybody.
        words = ("GetHistory", "a{sv}", "0")
        assert "why" in box.rig.call(*words).stdout
        assert "why" not in box.rig.call(*words, user="nobody").stdout.replace('\\"why\\":', "")
    offline = box.cli("--sysroot", str(box.rig.sysroot), "history")
    assert "rate-limited" in offline.stdout


def test_the_end_of_who_asked_ends_an_automatic_run(box: Box):
    box.release("v2")
    box.registry.fail("blobs/", times=-1, drip=0.5)
    with box.rig.daemon():
        command = [str(BIN / "bootctl-py"), "upgrade", "--automatic", "--quiet"]
        with subprocess.Popen(command, env=box.rig.environment) as client:
            for _ in range(PATIENCE):
                if box.jobs()[-1:] == ["running"]:
                    break
                time.sleep(0.1)
            client.send_signal(signal.SIGTERM)
            assert client.wait(60) == 130
        for _ in range(PATIENCE):
            if "running" not in box.jobs():
                break
            time.sleep(0.1)
        assert box.jobs()[-1] == "cancelled"
        with Sysroot.at(box.rig.sysroot).lock(exclusive=True, wait_seconds=0):
            pass
        # It is taken up again later, and is no failure.
        assert box.known.last_run is not None
        assert (box.known.last_run.outcome, box.known.in_a_row) == ("cancelled", 0)
        time.sleep(1)
        assert "running" not in box.jobs()


def test_the_end_of_who_asked_ends_a_check_that_nobody_else_waits_for(box: Box):
    with (box.rig.sysroot / "etc/bootd/bootd.toml").open("a") as settings:
        settings.write('automatic = "check"\n')
    box.release("v2")
    box.registry.fail("manifests/", times=-1, drip=0.5)
    command = [str(BIN / "bootctl-py"), "upgrade", "--automatic", "--quiet"]
    with box.rig.daemon():
        for others in (0, 1):
            with subprocess.Popen(command, env=box.rig.environment) as client:
                for _ in range(PATIENCE):
                    if box.jobs()[-1:] == ["running"]:
                        break
                    time.sleep(0.1)
                if others:
                    assert box.cli("check", "--no-wait").returncode == 0
                client.send_signal(signal.SIGTERM)
                assert client.wait(60) == 130
            for _ in range(0 if others else PATIENCE):
                if "running" not in box.jobs():
                    break
                time.sleep(0.1)
            assert box.jobs()[-1] == ("running" if others else "cancelled")
    last = box.known.run
    assert last is not None
    assert (last.operation, last.outcome, last.automatic) == ("check", "cancelled", True)


def test_the_end_of_who_asked_does_not_end_what_a_person_wants(box: Box):
    box.release("v2")
    box.registry.fail("blobs/", times=-1, drip=0.5)
    with box.rig.daemon():
        path = box.cli("upgrade", "--no-wait", "--json", "short")
        job = json.loads(path.stdout)["path"]
        done = box.rig.run(
            *("busctl", "--system", "call", "org.bootd1", job, "org.bootd1.Job", "Cancel"),
            *("a{sv}", "1", "automatic", "b", "true"),
            status=1,
        )
        assert "somebody else wants this job" in done.stderr
        assert box.jobs()[-1] == "running"


# Its parts.


class _Still(Clock):
    def now(self) -> datetime:
        return datetime(2026, 11, 30, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        pass


@pytest.mark.parametrize("delay", [30.0, 3_600.0, 1e12])
def test_what_a_server_wants_to_wait_is_known_to_whoever_plans(delay: float):
    backoff = Backoff(RegistrySettings(attempts=1), _Still())
    with pytest.raises(RateLimitedError) as raised:
        backoff.failed(TemporaryFailure(RateLimitedError("slow down"), delay))
    told = raised.value.not_before
    assert told == _Still().now() + timedelta(seconds=min(delay, 366 * 86_400))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ('"2026-11-30T01:00:00+00:00"', datetime(2026, 11, 30, 1, tzinfo=UTC)),
        ("null", None),
        ('"tomorrow"', None),
        ('"0001-01-01T00:00:00+23:00"', None),
        ("7", None),
    ],
)
async def test_a_job_tells_the_daemon_of_it(told: str, expected: datetime | None, tmp_path: Path):
    script = tmp_path / "worker"
    said = f'{{"event": "error", "code": "rate-limited", "message": "no", "not_before": {told}}}'
    script.write_text(f"#!/bin/sh\nread request\necho '{said}'\n")
    script.chmod(0o755)
    with pytest.raises(RateLimitedError) as raised:
        await Worker(None, [str(script)]).run("check", {}, lambda _: None)
    assert raised.value.not_before == expected


async def test_a_timer_comes_when_its_time_has_passed_and_tells_a_clock_that_was_set(
    monkeypatch: pytest.MonkeyPatch,
):
    woken: asyncio.Queue[bool] = asyncio.Queue()
    timer = WakeTimer(woken.put_nowait)
    timer.set(datetime.now(UTC) - timedelta(days=400))
    assert await woken.get() is False
    timer.set(datetime(1960, 1, 1, tzinfo=UTC))
    assert await woken.get() is False
    timer.set(None)
    timer.set(datetime(2500, 1, 1, tzinfo=UTC))
    await asyncio.sleep(0.05)
    assert woken.empty()

    def cancelled(*_: object) -> bytes:
        raise OSError(125, "Operation canceled")

    with monkeypatch.context() as patch:
        patch.setattr("os.read", cancelled)
        timer._heard()
    assert await woken.get() is True
    timer.close()
    timer.close()
