"""The demo's machine: a disk that is a folder, a daemon on a private bus, simulated reboots."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from support.loader import boot
from support.private_bus import run_daemon

from bootd.model.deployment import DeploymentId
from bootd.sysroot import Sysroot
from demo.narration import Narrator

BOOTCTL = str(Path(sys.executable).with_name("bootctl-py"))


class DemoMachine:
    """A machine whose disk is a folder.

    Attributes:
        disk: that folder.
        sysroot: the same, as bootd sees it.
    """

    def __init__(self, disk: Path, environment: Mapping[str, str], narrator: Narrator) -> None:
        self.disk = disk
        self.sysroot = Sysroot.at(disk)
        self._environment = environment
        self._narrator = narrator
        self._running = ExitStack()
        self._daemon: subprocess.Popen[bytes] | None = None
        narrator.call("bootctl-py", BOOTCTL)
        narrator.call("DISK", str(disk))

    def start_daemon(self) -> None:
        """Start bootd and wait until it is on the bus."""
        log = self.disk.parent / "bootd.log"
        self._narrator.tell("(starting the daemon: bootd --sysroot DISK)")
        daemon = run_daemon(self._environment, self.disk, log)
        self._daemon = self._running.enter_context(daemon)

    def stop_daemon(self) -> None:
        """Tell bootd to end, as systemd does, and wait until it has."""
        self._running.close()

    def kill_daemon(self) -> None:
        """End bootd as a crash does."""
        assert self._daemon is not None
        self._narrator.tell(f"$ kill -KILL {self._daemon.pid}")
        self._daemon.kill()
        self._daemon.wait()
        self.stop_daemon()

    def ask(self, *words: str, status: int = 0) -> str:
        """Run bootctl-py, which asks the daemon."""
        return self._narrator.run(BOOTCTL, *words, status=status)

    def know(self, *words: str) -> dict[str, Any]:
        """Run bootctl-py and return its JSON document; nothing is shown."""
        command = [BOOTCTL, *words, "--json=short"]
        said = subprocess.run(command, env=self._environment, check=True, capture_output=True)
        document = json.loads(said.stdout)
        assert isinstance(document, dict)
        return document

    def reboot(self, *, hanging_boots: int = 0) -> DeploymentId:
        """Shut down, boot; after some boots that hang, come up and be found healthy."""
        self._narrator.tell("(shutting down: bootd-finalize.service does this)")
        self._narrator.run(BOOTCTL, "--sysroot", str(self.disk), "finalize")
        self.stop_daemon()
        booted = self._boot()
        for _ in range(hanging_boots):
            self._narrator.tell("(it hangs; somebody presses the reset button)")
            booted = self._boot()
        self.start_daemon()
        self._narrator.tell("(the machine came up: bootd-bless.service does this)")
        self._narrator.run(BOOTCTL, "--sysroot", str(self.disk), "bless")
        return booted

    def _boot(self) -> DeploymentId:
        shutil.rmtree(self.sysroot.run, ignore_errors=True)
        booted = boot(self.sysroot)
        line = self.sysroot.command_line.read_text().strip()
        self._narrator.tell(f"(the loader's stand-in boots: {line})")
        return booted

    def entries(self) -> list[str]:
        """The names of the boot entries."""
        return sorted(path.name for path in (self.disk / "boot/loader/entries").iterdir())

    def etc(self, deployment: DeploymentId) -> Path:
        """A deployment's own ``/etc``: the machine's, once it is booted."""
        return self.sysroot.deployment(deployment) / "etc"
