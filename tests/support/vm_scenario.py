"""What the scenarios say: push a version, let the timer's unit run, reboot, look at the status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bootd.model.event import Event
from support.registry import DockerRegistry
from support.vm import BOOT_SECONDS, Saved, VirtualMachine
from support.vm_disk import await_kept
from support.vm_versions import vm_versions

UPGRADE = "systemctl start bootd-upgrade.service"
"""What the timer starts."""
MANAGER = "org.bootd1 /org/bootd1 org.bootd1.Manager"
ESP = "/tmp/esp"
FALLBACK_SECONDS = 2_400
"""How long all tries of a bad version may take together before the next sign of a boot."""

_SET_ONESHOT = """python3 - <<'END'
from pathlib import Path

name = "LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
flags = (7).to_bytes(4, "little")
value = "{pattern}\\0".encode("utf-16-le")
Path("/sys/firmware/efi/efivars", name).write_bytes(flags + value)
END
"""
"""Non-volatile, for the boot loader and for the system (UEFI 2.10, section 8.2.1)."""


class Scenario:
    """A machine and the registry it follows.

    Attributes:
        machine: it; see `support.vm`.
        registry: the registry, on the host's loopback.
    """

    def __init__(
        self, saved: Saved, folder: Path, registry: DockerRegistry, *, recorded: bool = False
    ) -> None:
        self.machine = VirtualMachine(saved, folder, registry.host, recorded=recorded)
        self.registry = registry

    def begin(self) -> None:
        """Serve what the machine runs, and switch on."""
        self.serve("v1")
        self.machine.start()

    def serve(self, version: str) -> None:
        """Let the followed tag point to a version."""
        self.registry.push(vm_versions(), "os", layout_tag=version)

    def run(self, command: str, **options: Any) -> str:
        """Run a shell command in the machine."""
        return self.machine.run(command, **options)

    def on_esp(self, command: str) -> str:
        """Run a shell command while the EFI system partition is mounted on `ESP`."""
        mount = f"mkdir -p {ESP} && mount /dev/disk/by-partlabel/esp {ESP}"
        return self.run(f"{mount} && {{ {command}; }}; status=$?; umount {ESP}; exit $status")

    def choose(self, pattern: str) -> None:
        """Let the boot loader start the entry that a pattern fits, once.

        ``bootctl set-oneshot`` takes whole names only.
        """
        self.run(_SET_ONESHOT.format(pattern=pattern))

    def status(self) -> dict[str, Any]:
        """What ``bootctl-py status`` says."""
        document: dict[str, Any] = json.loads(self.run("bootctl-py status --json=short"))
        return document

    def upgrade(self, version: str) -> None:
        """Serve a version, let the timer's unit run, and see that it is staged."""
        self.serve(version)
        self.run(UPGRADE, seconds=BOOT_SECONDS)
        assert self.version_of("staged") == version

    def version_of(self, role: str) -> str | None:
        """The version of the ``booted``, ``staged``, ``queued`` or ``rollback`` deployment."""
        found = self.status()
        versions = {one["id"]: one["image_version"] for one in found["deployments"]}
        return None if found[role] is None else versions[found[role]]

    def reboot_into(self, version: str) -> None:
        """Restart, and see that a version boots and is kept for good."""
        assert self.machine.reboot() == version
        await_kept(self.machine)

    def await_fallback(self, version: str, *, tries: int) -> None:
        """Restart into something bad, and see that the machine comes back by itself.

        Args:
            version: what has to run in the end.
            tries: how many boots the bad one is granted.
        """
        before = self.machine.boots
        self.run("systemctl --no-block reboot")
        while self.machine.await_boot(FALLBACK_SECONDS) != version:
            assert self.machine.boots - before <= tries
        assert self.machine.boots - before == tries + 1
        await_kept(self.machine)

    def expect_denied(self, version: str, *, cause: str) -> str:
        """See that a version is on the deny list, and that this is told; return the evidence."""
        denied = json.loads(self.run("bootctl-py denied list --json=short"))["denied"]
        assert [one["cause"] for one in denied] == [cause]
        digest: str = denied[0]["digest"]
        assert self.status()["last_fallback"]["digest"] == digest
        assert digest in self.run(f"busctl get-property {MANAGER} LastFallback")
        assert version in self.run("cat /run/motd.d/10-bootd")
        assert self.run(f"journalctl -b -o cat MESSAGE_ID={Event.FALLBACK_SEEN.value}")
        evidence: str = denied[0]["evidence"]
        return evidence

    def expect_nothing_staged(self, runs: int) -> None:
        """Let the timer's unit run so often, and see that it stages nothing."""
        for _ in range(runs):
            self.run(UPGRADE, seconds=BOOT_SECONDS)
            if self.machine.ask("test -e /run/bootd/staged.json")[0] == 0:
                pytest.fail("a denied version was staged")
        found = self.status()
        assert found["staged"] is None
        assert found["queued"] is None
