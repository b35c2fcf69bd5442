"""In which order a stage's processes and threads write, and what becomes of a sync that fails.

Layers are synced while others are imported and the image is composed, so the crash tests, which cut
one thread's calls, do not see it; strace does.
"""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.images import build_oci_layout, tar_layer
from support.machine import image_files
from support.watched_job import watched_job, watched_stage

from bootd.store.upkeep.fsck import check_store
from bootd.sysroot import Sysroot

WATCHED = "syncfs,rename,renameat2,close"
CALL = re.compile(r"^([0-9.]+) (\w+)\((.*)\) += \S+.* <([0-9.]+)>$")
SLOW = "inject=syncfs:delay_enter=2000000"
SOUND = "signal=none"
BROKEN = "inject=syncfs:error=EIO"
FILES = 30
_SECONDS = 120


@dataclass(frozen=True)
class Call:
    """A system call: by which thread, from when to when, and on what."""

    thread: str
    begin: float
    end: float
    name: str
    arguments: str


@pytest.fixture
def image(tmp_path: Path) -> str:
    layers = [tar_layer(image_files("any"))]
    for layer in "ab":
        files = {f"usr/{layer}-{number}": layer.encode() * (99 + number) for number in range(FILES)}
        layers.append(tar_layer({"usr/": None, **files}))
    build_oci_layout(tmp_path / "image", layers)
    return f"oci:{tmp_path}/image"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "boot").mkdir(parents=True)
    (made / "etc/bootd").mkdir(parents=True)
    (made / "etc/bootd/bootd.toml").write_text("parallel_layers = 2\n")
    return made


def staged(root: Path, image: str, fault: str) -> tuple[dict[str, Any], list[Call]]:
    """Stage with a fault in the syncs; return the job's last words, and its calls in order."""
    said, traces = watched_stage(root, image, root.parent / "traces", f"trace={WATCHED}", fault)
    calls = []
    for trace in traces:
        for found in map(CALL.match, trace.read_text().splitlines()):
            if found is not None and str(root) in found[3]:
                begin, spent = float(found[1]), float(found[4])
                calls.append(Call(trace.suffix, begin, begin + spent, found[2], found[3]))
    return said, sorted(calls, key=lambda call: call.begin)


def renamed(calls: list[Call], pattern: str) -> list[Call]:
    """The calls that gave something a name that matches."""
    return [call for call in calls if "rename" in call.name and re.search(pattern, call.arguments)]


def closed(calls: list[Call], path: str) -> Call:
    """The first call that closed a file, which whoever wrote it did."""
    return next(call for call in calls if call.name == "close" and path in call.arguments)


def is_synced(calls: list[Call], after: float, before: float) -> bool:
    return any(call.name == "syncfs" and after < call.begin <= call.end < before for call in calls)


def test_a_layer_is_found_after_its_sync_and_the_image_after_its_layers(
    root: Path, image: str
) -> None:
    last, calls = staged(root, image, SLOW)
    assert last["event"] == "result", last
    indexes = renamed(calls, r'/layers/[.]new-[^"]*", .*/layers/sha256:')
    assert len(indexes) == len({call.arguments for call in indexes}) == 1 + len("ab")
    objects = renamed(calls, "/objects/")
    assert len(objects) >= 2 * FILES
    # Their forks, which read the layers, close all that they are given.
    importers = {one.thread for one in objects}
    [shown] = renamed(calls, r'/images/[.]new-[^"]*", .*/images/sha256:')
    for index in indexes:
        [temporary] = re.findall(r'/layers/[.]new-[^"]+', index.arguments)
        written = closed([call for call in calls if call.thread in importers], temporary)
        stored = [one for one in objects if one.thread == written.thread and one.end < written.end]
        assert stored
        assert is_synced(calls, written.end, index.begin)
        assert index.end < shown.begin
    assert objects[-1].end < indexes[-1].begin
    [folder] = re.findall(r'/images/[.]new-[^"]+', shown.arguments)
    assert is_synced(calls, closed(calls, f"{folder}/root.erofs").end, shown.begin)


def test_nothing_is_found_after_a_sync_that_failed(root: Path, image: str) -> None:
    last, calls = staged(root, image, BROKEN)
    assert last["event"] == "error", last
    assert "Input/output error" in last["message"]
    for folder in ("layers", "images", "deployments"):
        assert not list((root / "bootd" / folder).glob("[!.]*"))
    assert renamed(calls, "/objects/")
    assert not renamed(calls, r'/(layers|images|deployments)/[^./][^/"]*"$')


def test_a_kill_while_syncs_go_on_leaves_no_image_and_a_store_to_go_on_with(
    root: Path, image: str
) -> None:
    traces = root.parent / "killed"
    with watched_job(root, image, traces, f"trace={WATCHED}", SLOW) as process:
        deadline = time.monotonic() + _SECONDS
        while not list((root / "bootd/images").glob(".new-*/root.erofs")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        [job] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(job), signal.SIGKILL)
        # strace ends after the last of the job's children.
        process.wait(_SECONDS)
    assert not list((root / "bootd/images").glob("[!.]*"))
    last, _ = staged(root, image, SOUND)
    assert last["event"] == "result", last
    assert check_store(Sysroot.at(root), repair=False, report=lambda *_: None).damages == []
