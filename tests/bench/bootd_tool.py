"""bootd: the daemon's own job process, and the daemon while it waits."""

from __future__ import annotations

import compileall
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from support.machine import Machine
from support.own_run import with_run
from support.private_bus import run_bus, run_daemon, run_polkit

import bootd
from bench.measure import CLOSE_LOOK, Measurement, cpu_seconds, measure, resident_bytes, wakes
from bench.sizes import size
from bench.targets import OWN, Daemon
from bench.tool import Tool

_SETTLE_SECONDS = 5.0
_CHECKS = 5
"""One takes no more than some of the kernel's ticks, in which it counts."""
_TIMED = """
import statistics, subprocess, sys, time
taken = []
for _ in range(21):
    start = time.monotonic()
    subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
    taken.append(time.monotonic() - start)
print(statistics.median(taken))
"""
_CLIENT = str(Path(sys.executable).with_name("bootctl-py"))


class Bootd(Tool):
    """Stage on an empty sysroot, restart into it, then stage the second version."""

    name: ClassVar[str] = OWN

    @property
    def sysroot(self) -> Path:
        return self.folder / "disk"

    def prepare(self) -> None:
        """Lay out an empty disk that knows the registry."""
        (self.sysroot / "boot").mkdir(parents=True, exist_ok=True)
        self.registry.configure(self.sysroot)

    def first(self) -> Measurement:
        self.prepare()
        return self._job("stage", reference=self.reference("v1"), remember=True)

    def restart(self) -> None:
        """Shut down and start into what is staged, as machines do between two upgrades."""
        Machine(self.sysroot, self.folder / "unused").reboot()

    def second(self) -> Measurement:
        self.restart()
        return self._job("stage", reference=self.reference("v2"))

    def check(self) -> tuple[int, Measurement]:
        """Poll the followed image; return the requests that took, too."""
        before = len(self.registry.requests())
        measured = self._job("check")
        return len(self.registry.requests()) - before, measured

    def daemon(self) -> Daemon:
        """What the daemon takes for a poll, for ``status``, and for nothing after an upgrade."""
        with ExitStack() as stack:
            # The cache may be in a home folder that polkitd's user cannot enter.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bootd-bench-")))
            folder.chmod(0o755)
            environment = stack.enter_context(run_bus(folder))
            stack.enter_context(run_polkit(environment, folder))
            running = run_daemon(environment, self.sysroot, folder / "bootd.log")
            pid = stack.enter_context(running).pid
            _ask(environment, "upgrade")
            before = cpu_seconds(pid)
            for _ in range(_CHECKS):
                _ask(environment, "check")
            polled = (cpu_seconds(pid) - before) / _CHECKS
            run = self.sysroot / "run/bootd"
            status, bare = (
                float(
                    subprocess.check_output(with_run(run, [sys.executable, "-c", _TIMED, *words]))
                )
                for words in ((_CLIENT, "status"), (sys.executable, "-c", "pass"))
            )
            time.sleep(_SETTLE_SECONDS)
            resident, woken = resident_bytes(pid), wakes(pid)
            time.sleep(size().idle_seconds)
            rate = round((wakes(pid) - woken) * 60 / size().idle_seconds)
            return Daemon(resident, rate, polled, status, bare)

    def stage(self, reference: str) -> Measurement:
        """Stage an image of the registry, looking closely at memory: no other tool is beside it."""
        command, line = job(self.sysroot, "stage", reference=reference)
        return measure(command, folder=self.folder, request=line, look=CLOSE_LOOK)

    def _job(self, operation: str, **arguments: Any) -> Measurement:
        command, line = job(self.sysroot, operation, **arguments)
        return measure(command, folder=self.folder, request=line)


def job(sysroot: Path, operation: str, **arguments: Any) -> tuple[list[str], bytes]:
    """The daemon's own job process, and the line that it reads first."""
    _compile()
    request = {"operation": operation, "arguments": arguments, "sysroot": str(sysroot)}
    return [sys.executable, "-m", "bootd.operations"], json.dumps(request).encode() + b"\n"


@cache
def _compile() -> None:
    """Have bytecode, as packages do, whatever a checkout has and the environment forbids."""
    compileall.compile_dir(Path(bootd.__file__).parent, quiet=1)


def phases(measurement: Measurement) -> dict[str, float]:
    """How long each phase of a job took, as it reported them: an end of one begins the next."""
    found: dict[str, float] = {}
    phase, since = "starting", 0.0
    lines = zip(measurement.output.splitlines(), measurement.moments, strict=True)
    for event, moment in ((json.loads(line), moment) for line, moment in lines):
        if event.get("phase", phase) != phase:
            found[phase] = found.get(phase, 0.0) + moment - since
            phase, since = event["phase"], moment
    found[phase] = found.get(phase, 0.0) + measurement.seconds - since
    return found


def _ask(environment: Mapping[str, str], verb: str) -> None:
    subprocess.run([_CLIENT, verb], env=environment, check=True, capture_output=True)
