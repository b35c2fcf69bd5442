"""What becomes of a job whose children are killed or stopped, and of children whose job is.

A job that went on waiting would keep the store's lock, and no other could change the machine.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.images import build_image, tar_layer
from support.job_processes import children, fetching, last_words, publisher, staging, wait_until
from support.machine import image_files
from support.registry import FaultyRegistry, faulty_registry

from bootd.model.errors import BusyError
from bootd.sysroot import Sysroot

_LAYERS = 2


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    """A registry that has one layer to give and falls silent over two others."""
    layers = [tar_layer(image_files("v1")), *(tar_layer({f"usr/{name}": b"more"}) for name in "ab")]
    with faulty_registry() as found:
        image = build_image(layers, compression="none")
        found.add_image(image)
        for layer in image.layers[1:]:
            found.fail(f"GET .*/blobs/{layer['digest']}", times=-1, stall=True)
        yield found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "boot").mkdir(parents=True)
    (made / "etc/bootd").mkdir(parents=True)
    (made / "etc/bootd/bootd.toml").write_text(f"parallel_layers = {_LAYERS}\n")
    return made


def importer(job: int) -> int:
    return children(job)[-1]


def is_free(root: Path) -> bool:
    """Whether nobody holds the store's lock."""
    try:
        with Sysroot.at(root).lock(exclusive=True):
            return True
    except BusyError:
        return False


def are_gone(processes: list[int]) -> bool:
    return not any(Path(f"/proc/{one}").exists() for one in processes)


@pytest.mark.parametrize(
    ("victim", "named"),
    [
        (importer, "a process that imported a layer was killed by SIGKILL"),
        (publisher, "the process that made layers durable was killed by SIGKILL"),
    ],
)
def test_job_tells_who_was_killed(
    root: Path, registry: FaultyRegistry, victim: Callable[[int], int], named: str
) -> None:
    with staging(root, registry) as job:
        wait_until(lambda: fetching(job.pid) == _LAYERS)
        found = children(job.pid)
        os.kill(victim(job.pid), signal.SIGKILL)
        said = last_words(job)
        assert (said["event"], said["code"]) == ("error", "process-failed")
        assert named in said["message"]
        assert are_gone(found)
        assert is_free(root)


@pytest.mark.parametrize("stopped", [[], [importer], [publisher], [importer, publisher]])
def test_job_that_is_cancelled_ends_whatever_its_children_do(
    root: Path, registry: FaultyRegistry, stopped: list[Callable[[int], int]]
) -> None:
    with staging(root, registry) as job:
        wait_until(lambda: fetching(job.pid) == _LAYERS)
        found = children(job.pid)
        for victim in stopped:
            os.kill(victim(job.pid), signal.SIGSTOP)
        job.terminate()
        assert last_words(job)["code"] == "cancelled"
        assert are_gone(found)
        assert is_free(root)


@pytest.mark.parametrize("stopped", [[], [importer], [publisher], [importer, publisher]])
def test_children_of_a_job_that_was_killed_let_go_of_the_store(
    root: Path, registry: FaultyRegistry, stopped: list[Callable[[int], int]]
) -> None:
    with staging(root, registry) as job:
        wait_until(lambda: fetching(job.pid) == _LAYERS)
        found = children(job.pid)
        for victim in stopped:
            os.kill(victim(job.pid), signal.SIGSTOP)
        job.kill()
        # Whoever reads the job's output must see its end.
        assert job.stdout is not None
        job.stdout.read()
        wait_until(lambda: are_gone(found))
        assert is_free(root)
