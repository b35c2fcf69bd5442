"""Layers are imported in processes of their own, which end with the one that wants them.

One that lived on would write into a store whose lock was free again: after a collection, an index
that refers to objects that are gone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.images import build_image, tar_layer
from support.machine import image_files
from support.registry import FaultyRegistry, TokenAuth, faulty_registry

from bootd.configuration import Configuration

_LAYERS = 2
_SECONDS = 60


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    files = image_files("v1")
    layers = [tar_layer(files), tar_layer({"usr/more": b"more"})]
    with faulty_registry() as found:
        image = build_image(layers, compression="none")
        found.add_image(image)
        for layer in image.layers:
            found.fail(f"GET .*/blobs/{layer['digest']}", times=-1, stall=True)
        yield found


def staging(root: Path, registry: FaultyRegistry) -> subprocess.Popen[bytes]:
    """The daemon's job, which stages what the registry has, or half of it."""
    registry.configure(root)
    arguments = {"reference": registry.reference()}
    request = {"operation": "stage", "arguments": arguments, "sysroot": str(root)}
    child = subprocess.Popen(
        [sys.executable, "-m", "bootd.operations"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps(request).encode() + b"\n")
    child.stdin.flush()
    return child


def importers(pid: int) -> list[int]:
    """The processes of a job that import layers, and the one that publishes them."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in children]


def open_files(pid: int) -> list[str]:
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(link.readlink()))
    return links


def is_fetching(pid: int, job: int) -> bool:
    """Whether a process has a connection of its own."""
    own = set(open_files(pid)) - set(open_files(job))
    connections = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return not own.isdisjoint(f"socket:[{line.split()[9]}]" for line in connections)


def fetching(job: int) -> int:
    return sum(is_fetching(one, job) for one in importers(job))


def test_they_end_with_a_job_that_is_killed(tmp_path: Path, registry: FaultyRegistry) -> None:
    (tmp_path / "root/boot").mkdir(parents=True)
    job = staging(tmp_path / "root", registry)
    try:
        wait_until(lambda: fetching(job.pid) == _LAYERS)
        found = importers(job.pid)
        # The store is not free while one of them may still write.
        lock = str(tmp_path / "root/bootd/lock")
        assert all(lock in open_files(one) for one in found)
    finally:
        job.kill()
        job.wait()
        assert job.stdin is not None
        job.stdin.close()
    wait_until(lambda: not any(Path(f"/proc/{one}").exists() for one in found))


def test_each_keeps_its_connection_and_its_token(tmp_path: Path) -> None:
    (tmp_path / "root/boot").mkdir(parents=True)
    more = [tar_layer({f"usr/{number}": b"more"}) for number in range(8)]
    with faulty_registry() as registry:
        registry.token_auth = TokenAuth()
        registry.add_image(build_image([tar_layer(image_files("v1")), *more], compression="none"))
        job = staging(tmp_path / "root", registry)
        assert job.stdin is not None
        with job, job.stdin:
            assert job.wait(_SECONDS) == 0
        processes = Configuration().parallel_layers + 1
        served = [one for one in registry.requests if "/blobs/" in one.path and one.status == 200]
        assert len(served) == len(more) + 2
        assert registry.token_auth.issued <= processes
        # One of each is the attempt at TLS: the registry is marked insecure.
        assert registry.connections <= processes * 2


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
