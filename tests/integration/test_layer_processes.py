"""Layers are imported in processes of their own, which end with the one that wants them.

One that lived on would write into a store whose lock was free again: after a collection, an index
that refers to objects that are gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import build_image, tar_layer
from support.job_processes import children, fetching, last_words, open_files, staging, wait_until
from support.machine import image_files
from support.registry import FaultyRegistry, TokenAuth, faulty_registry

from bootd.configuration import Configuration

_LAYERS = 2


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


def test_they_end_with_a_job_that_is_killed(tmp_path: Path, registry: FaultyRegistry) -> None:
    (tmp_path / "root/boot").mkdir(parents=True)
    with staging(tmp_path / "root", registry) as job:
        wait_until(lambda: fetching(job.pid) == _LAYERS)
        found = children(job.pid)
        # The store is not free while one of them may still write.
        lock = str(tmp_path / "root/bootd/lock")
        assert all(lock in open_files(one) for one in found)
    wait_until(lambda: not any(Path(f"/proc/{one}").exists() for one in found))


def test_each_keeps_its_connection_and_its_token(tmp_path: Path) -> None:
    (tmp_path / "root/boot").mkdir(parents=True)
    more = [tar_layer({f"usr/{number}": b"more"}) for number in range(8)]
    with faulty_registry() as registry:
        registry.token_auth = TokenAuth()
        registry.add_image(build_image([tar_layer(image_files("v1")), *more], compression="none"))
        with staging(tmp_path / "root", registry) as job:
            assert last_words(job)["event"] == "result"
        processes = Configuration().parallel_layers + 1
        served = [one for one in registry.requests if "/blobs/" in one.path and one.status == 200]
        assert len(served) == len(more) + 2
        assert registry.token_auth.issued <= processes
        # One of each is the attempt at TLS: the registry is marked insecure.
        assert registry.connections <= processes * 2
