"""What a merge of /etc and a shutdown cost: ``python -m bench.etc_merge``.

The machine has 3,000 files in ``/etc``; a tenth of them is edited, and the image changes another
tenth. The goals are those of a shutdown: a merge in 0.5 s and 60 MB, a finalize in 1 s beside its
syncs. Each is measured in a process of its own, which does nothing else.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from support.cache import cache_directory
from support.images import build_oci_layout, tar_layer
from support.machine import Machine, image_files

from bootd.durable import Disk
from bootd.operations.etc_merge import merge_into
from bootd.operations.finalize import finalize
from bootd.operations.progress import Silent
from bootd.operations.survey import survey

FILES = 3_000
GOALS = {"merge": (0.5, 60), "finalize": (1.0, 60)}
"""Seconds beside syncs, and MB."""


class TimedDisk(Disk):
    """Counts the seconds that syncs take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def _timed(self, act: Callable[[], None]) -> None:
        start = time.monotonic()
        act()
        self.seconds += time.monotonic() - start

    def sync_filesystem(self, path: Path) -> None:
        self._timed(lambda: super(TimedDisk, self).sync_filesystem(path))

    def _sync_directory(self, path: Path) -> None:
        self._timed(lambda: super(TimedDisk, self)._sync_directory(path))


def main() -> int:
    """Measure one thing in this process (named by the arguments), or all and print a table."""
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]))))
        return 0
    sys.stdout.write(table())
    return 0


def table() -> str:
    """Return what was measured, as lines of a Markdown table."""
    rows = [
        "",
        "| /etc of 3,000 files | seconds beside syncs | CPU s | MB | goal |",
        "|---|---|---|---|---|",
    ]
    for what, (seconds, megabytes) in GOALS.items():
        found = _in_a_process(what)
        goal = f"{seconds} s, {megabytes} MB"
        figures = f"{found['seconds']:.2f} | {found['cpu']:.2f} | {found['megabytes']:.0f}"
        rows.append(f"| {what} | {figures} | {goal} |")
    return "\n".join(rows) + "\n"


def _in_a_process(what: str) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory(prefix=".bench-etc-", dir=cache_directory()) as name:
        _prepare(Path(name))
        command = [sys.executable, "-m", "bench.etc_merge", what, name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _prepare(folder: Path) -> None:
    """Lay a machine out that has an update staged."""
    machine = Machine(folder / "root", folder / "image")
    machine.folder.mkdir()
    for version in ("v1", "v2"):
        files = image_files(version)
        for number in range(FILES):
            if number % 50 == 0:
                files[f"etc/{number // 50:02}/"] = None
            changed = version if number % 10 == 0 else "any"
            text = f"setting {number} of {changed}\n" * (number % 40 + 1)
            files[f"etc/{number // 50:02}/{number}"] = text.encode()
        labels = {"org.opencontainers.image.version": version}
        build_oci_layout(machine.image, [tar_layer(files)], labels=labels)
        machine.upgrade()
        if version == "v1":
            etc = machine.etc(machine.reboot())
            for number in range(5, FILES, 10):
                (etc / f"{number // 50:02}/{number}").write_text(f"edited {number}\n")


def _measure(what: str, folder: Path) -> Mapping[str, float]:
    disk = TimedDisk()
    machine = Machine(folder / "root", folder / "image", disk)
    found = survey(machine.sysroot)
    assert found.staged is not None
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.monotonic()
    if what == "merge":
        merge_into(machine.host, found, found.staged, folder / "target")
    else:
        finalize(machine.host, Silent())
    seconds = time.monotonic() - start - disk.seconds
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu, "megabytes": after.ru_maxrss / 1000}


if __name__ == "__main__":
    sys.exit(main())
