"""What a merge of /etc and a shutdown cost: ``python -m bench.etc_merge``.

The machine has 3,000 files in ``/etc``; a tenth of them is edited, and the image changes another
tenth. Each is measured in a process of its own, which does nothing else, when the disk has nothing
left to write; the seconds are those beside its syncs, and memory is what this process had at most,
without that of the one it is of. Of several runs the one in the middle counts.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from support.images import build_oci_layout, tar_layer
from support.machine import Machine, image_files

from bench.report import Promise, Results, machine_facts
from bench.work_folder import work_folder
from bootd.durable import Disk
from bootd.operations.etc.merge import merge_into
from bootd.operations.finalize import finalize
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent

FILES = 3_000
_RUNS = 5
ETC = "merge of /etc"
PROMISES = (
    Promise("merge over 3,000 files of /etc", 0.5, "s beside syncs",
            lambda found: found.figure(ETC, "merge: seconds")),
    Promise("merge over 3,000 files of /etc", 60, "MB",
            lambda found: found.figure(ETC, "merge: megabytes")),
    Promise("finalize at shutdown", 1, "s beside syncs",
            lambda found: found.figure(ETC, "finalize: seconds")),
)  # fmt: skip


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
    """Measure one thing in this process (named by the arguments), or both and print a table."""
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]))))
        return 0
    results = Results(machine_facts())
    with results.part(ETC):
        run_etc_merge(results)
    results.targets = [promise.judge(results) for promise in PROMISES]
    sys.stdout.write(f"{results.table()}\n{results.verdict()}\n")
    return 1 if results.missed else 0


def run_etc_merge(results: Results) -> None:
    """Add the figures of a merge and of a finalize to the results."""
    for what in ("merge", "finalize"):
        runs = [_in_a_process(what) for _ in range(_RUNS)]
        found = sorted(runs, key=lambda run: run["seconds"])[_RUNS // 2]
        results.note(ETC, **{f"{what}: {name}": figure for name, figure in found.items()})
        results.facts[f"{what} of 3,000 files in /etc"] = (
            f"{found['seconds']:.2f} s beside syncs, {found['cpu']:.2f} s of CPU, "
            f"{found['megabytes']:.0f} MB"
        )


def _in_a_process(what: str) -> Mapping[str, float]:
    with work_folder() as folder:
        _prepare(folder)
        command = [sys.executable, "-m", "bench.etc_merge", what, folder]
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
    found = take_survey(machine.sysroot)
    assert found.staged is not None
    os.sync()
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.monotonic()
    if what == "merge":
        merge_into(machine.host, found, found.staged, folder / "target")
    else:
        finalize(machine.host, Silent())
    seconds = time.monotonic() - start - disk.seconds
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu, "megabytes": _most_memory() / 1e6}


def _most_memory() -> int:
    # ru_maxrss begins with what the process had that this one was started from (getrusage(2)).
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


if __name__ == "__main__":
    sys.exit(main())
