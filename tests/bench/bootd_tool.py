"""bootd: the daemon's own job process, and the daemon while it waits."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from support.private_bus import run_bus, run_daemon, run_polkit

from bench.measure import Measurement, measure, resident_bytes
from bench.tool import Tool

_SETTLE_SECONDS = 5.0


class Bootd(Tool):
    """Stage on an empty sysroot, then stage the second version on that."""

    name: ClassVar[str] = "bootd"

    @property
    def sysroot(self) -> Path:
        return self.folder / "disk"

    def first(self) -> Measurement:
        (self.sysroot / "boot").mkdir(parents=True)
        self.registry.configure(self.sysroot)
        return self._job("stage", reference=self.reference("v1"), remember=True)

    def second(self) -> Measurement:
        return self._job("stage", reference=self.reference("v2"))

    def check(self) -> Measurement:
        """Poll the followed image."""
        return self._job("check")

    def idle_bytes(self) -> int:
        """The resident memory of the daemon when nothing has been asked of it for a while."""
        with ExitStack() as stack:
            # The cache may be in a home folder that polkitd's user cannot enter.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bootd-bench-")))
            folder.chmod(0o755)
            environment = stack.enter_context(run_bus(folder))
            stack.enter_context(run_polkit(environment, folder))
            daemon = run_daemon(environment, self.sysroot, folder / "bootd.log")
            pid = stack.enter_context(daemon).pid
            time.sleep(_SETTLE_SECONDS)
            return resident_bytes(pid)

    def _job(self, operation: str, **arguments: Any) -> Measurement:
        request = {"operation": operation, "arguments": arguments, "sysroot": str(self.sysroot)}
        command = [sys.executable, "-m", "bootd.operations"]
        return measure(command, folder=self.folder, request=json.dumps(request).encode() + b"\n")
