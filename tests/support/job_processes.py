"""The daemon's job as a process of the test, and what can be seen of its children."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.registry import FaultyRegistry

_SECONDS = 60


@contextmanager
def staging(root: Path, registry: FaultyRegistry) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon's job, which stages what the registry has; killed if it still runs at the end."""
    registry.configure(root)
    arguments = {"reference": registry.reference()}
    request = {"operation": "stage", "arguments": arguments, "sysroot": str(root)}
    with subprocess.Popen(
        [sys.executable, "-m", "bootd.operations"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    ) as job:
        assert job.stdin is not None
        job.stdin.write(json.dumps(request).encode() + b"\n")
        job.stdin.flush()
        try:
            yield job
        finally:
            job.kill()


def last_words(job: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for the job's end; return its result or error."""
    assert job.stdout is not None
    job.wait(_SECONDS)
    said: dict[str, Any] = json.loads(job.stdout.read().splitlines()[-1])
    return said


def children(pid: int) -> list[int]:
    """The processes of a job that import layers, and the one that publishes them."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found]


def publisher(pid: int) -> int:
    """The process of a job that publishes layers; it is the first."""
    return children(pid)[0]


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
    return sum(is_fetching(one, job) for one in children(job))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
