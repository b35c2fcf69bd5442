"""What the tests of the daemon stand on: private buses, polkitd with rules, callers, a machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.machine import publish
from support.private_bus import ACTIONS, CHECKOUT, run_bus, run_daemon, wait_for_name

LIBRARIES = ("dbus_next", "dbus_fast")
SYSTEM_PYTHON = "/usr/bin/python3"
"""The distribution's Python, which has PyGObject."""
_RULES = Path("/etc/polkit-1/rules.d")


@dataclass(frozen=True)
class Rig:
    """A bus with the shipped policy, and a folder for a machine.

    Attributes:
        folder: everybody may enter it.
        environment: what clients of the bus need.
    """

    folder: Path
    environment: dict[str, str]

    @property
    def sysroot(self) -> Path:
        return self.folder / "machine"

    @property
    def log(self) -> Path:
        return self.folder / "bootd.log"

    @property
    def address(self) -> str:
        return self.environment["DBUS_SYSTEM_BUS_ADDRESS"]

    def image(self, version: str) -> str:
        """Publish a version of the tiny image; return its reference."""
        return publish(self.folder / "image", version)

    def run(
        self, *command: str, user: str | None = None, status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a client to its end and check its exit status."""
        words = [*as_user(user), *command] if user else list(command)
        done = subprocess.run(
            words, env=self.environment, check=False, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == status, f"{words}: {done.stdout}{done.stderr}"
        return done

    def call(
        self, member: str, *arguments: str, user: str | None = None, status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Call a method of the Manager with busctl."""
        manager = ("org.bootd1", "/org/bootd1", "org.bootd1.Manager")
        return self.run(
            "busctl", "--system", "call", *manager, member, *arguments, user=user, status=status
        )

    @contextmanager
    def daemon(self, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run bootd for the machine's folder."""
        with run_daemon({**self.environment, **more}, self.sysroot, self.log) as process:
            yield process


def as_user(name: str) -> list[str]:
    """Return what runs a command as a user without groups."""
    return ["setpriv", f"--reuid={name}", "--regid=65534", "--clear-groups"]


@contextmanager
def rig() -> Iterator[Rig]:
    """Set up a bus and an empty machine."""
    folder = Path(tempfile.mkdtemp(prefix="bootd-test-"))
    try:
        folder.chmod(0o755)
        (folder / "machine/boot/loader/entries").mkdir(parents=True)
        with run_bus(folder) as environment:
            yield Rig(folder, environment)
    finally:
        shutil.rmtree(folder)


@contextmanager
def polkit(found: Rig, rules: str) -> Iterator[None]:
    """Run polkitd with our actions and with rules of a test, both mounted for it alone."""
    overlays = {ACTIONS: found.folder / "actions", _RULES: found.folder / "rules"}
    for overlay in overlays.values():
        overlay.mkdir()
    for path in (*ACTIONS.glob("*.policy"), CHECKOUT / "dbus/org.bootd1.policy"):
        shutil.copy(path, overlays[ACTIONS])
    (overlays[_RULES] / "50-test.rules").write_text(rules)
    mounts = " && ".join(f"mount --bind {new} {old}" for old, new in overlays.items())
    script = f"{mounts} && exec /usr/lib/polkit-1/polkitd --no-debug"
    with (found.folder / "polkitd.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            env=found.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_name("org.freedesktop.PolicyKit1", found.environment)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def permissive_bus(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a bus on which everything is allowed; yields its address and process ID."""
    command = ["dbus-daemon", "--session", "--nofork", "--print-address"]
    with subprocess.Popen(
        [*command, f"--address=unix:path={folder}/bus"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "XDG_DATA_DIRS": str(folder), "XDG_DATA_HOME": str(folder)},
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.terminate()


@contextmanager
def silent_registry() -> Iterator[str]:
    """Listen as a registry that accepts and never answers; yields a reference to follow.

    A job that asks it runs until it is cancelled or a minute is over.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}/os:latest"


def environment_of(address: str, library: str | None = None) -> Mapping[str, str]:
    """Return the environment of a client or service on a bus."""
    chosen = {} if library is None else {"BOOTD_DBUS_LIBRARY": library}
    return {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": address, **chosen}
