"""What a job leaves in the log: the traceback of a fault, and with debug what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import build_image, tar_layer
from support.machine import image_files
from support.registry import FaultyRegistry, faulty_registry

from bootd.daemon.worker import Worker
from bootd.model.errors import InternalError

_LIBRARY = """\
import json, os
def send(message, **fields):
    with open(os.environ["STAND_IN"], "a") as stream:
        stream.write(json.dumps({"MESSAGE": message, **fields}) + "\\n")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "boot").mkdir(parents=True)
    (made / "etc/bootd").mkdir(parents=True)
    (made / "etc/bootd/bootd.toml").write_text("parallel_layers = 2\n")
    return made


@pytest.fixture
def registry(root: Path) -> Iterator[FaultyRegistry]:
    with faulty_registry() as found:
        layers = [tar_layer(image_files("v1")), tar_layer({"usr/more": b"more"})]
        found.add_image(build_image(layers))
        found.configure(root)
        yield found


def stage(root: Path, registry: FaultyRegistry, **environment: str) -> str:
    """Stage as the daemon's third job; return what the job says on standard error."""
    arguments = {"reference": registry.reference()}
    request = {"operation": "stage", "arguments": arguments, "sysroot": str(root), "job": 3}
    child = subprocess.Popen(
        [sys.executable, "-m", "bootd.operations"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
        *_, last = child.stdout.read().splitlines()
        assert json.loads(last)["event"] == "result"
        return child.stderr.read().decode()


async def test_fault_leaves_its_traceback(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InternalError, match=r"TypeError: .*nonsense"):
        await Worker(root).run("check", {"nonsense": True}, lambda _: None, 7)
    said = capfd.readouterr().err
    assert said.startswith("bootd: job 7: ")
    assert "Traceback (most recent call last)" in said
    assert "nonsense" in said.splitlines()[-1]


async def test_fault_is_in_the_journal_under_the_job(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "library/systemd").mkdir(parents=True)
    (tmp_path / "library/systemd/__init__.py").touch()
    (tmp_path / "library/systemd/journal.py").write_text(_LIBRARY)
    stream = os.fstat(2)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "library"))
    monkeypatch.setenv("JOURNAL_STREAM", f"{stream.st_dev}:{stream.st_ino}")
    monkeypatch.setenv("STAND_IN", str(tmp_path / "journal"))
    with pytest.raises(InternalError):
        await Worker(root).run("check", {"nonsense": True}, lambda _: None, 7)
    [record] = map(json.loads, (tmp_path / "journal").read_text().splitlines())
    assert record["JOB_ID"] == "7"
    assert record["PRIORITY"] == 3
    assert "Traceback (most recent call last)" in record["MESSAGE"]
    assert capfd.readouterr().err == ""


def test_debug_lines_tell_what_a_job_does(root: Path, registry: FaultyRegistry) -> None:
    said = stage(root, registry, SYSTEMD_LOG_LEVEL="debug")
    for part in (
        "stage begins",
        "/manifests/latest",
        "/blobs/sha256:",
        "pulling 2 layers",
        "imported layer sha256:",
        "is in the store",
        "now composing",
        "it is done",
    ):
        assert part in said
    assert all(line.startswith("bootd: job 3: ") for line in said.splitlines())


def test_job_without_faults_says_no_more_than_who_served(
    root: Path, registry: FaultyRegistry
) -> None:
    said = set(stage(root, registry).splitlines())
    assert said == {f"bootd: job 3: {registry.host}/os/image serves"}
