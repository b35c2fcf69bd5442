"""Machines to begin scenarios with: one that was just installed, and one that runs and is well.

Both are made once and kept in the cache; a scenario works on overlays of them.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bootd.operations.install import install_to_disk
from bootd.operations.install_settings import Settings
from bootd.operations.progress import Silent
from bootd.process import run
from support.cache import cached_folder, digest_of
from support.vm import REGISTRY, Saved, VirtualMachine
from support.vm_versions import vm_versions

FOLLOWED = f"{REGISTRY}/os:latest"
_DISK_BYTES = 6 << 30
_WELL_SECONDS = 600.0


def installed_machine() -> Saved:
    """A disk with ``v1`` that ``bootctl-py install to-disk`` made, never started yet.

    Raises:
        BootdError: the installation failed.
    """
    digest = digest_of(vm_versions().parent.name, Path(__file__))
    return Saved(cached_folder("vm-disk", digest, _install) / "disk.raw")


def running_machine(processors: int = 1) -> Saved:
    """The same after its first boot, with ``v1`` kept for good, and running."""
    version = run(["qemu-system-x86_64", "--version"]).stdout.decode()
    inputs = (Path(__file__), *(Path(__file__).with_name(n) for n in ("vm.py", "vm_port.py")))
    begun = replace(installed_machine(), processors=processors)
    digest = digest_of(begun.disk.parent.name, str(processors), version, *inputs)
    folder = cached_folder("vm-running", digest, partial(_boot, begun))
    memory = folder / "memory"
    return replace(
        begun, disk=folder / "disk.qcow2", variables=folder / "variables.qcow2", memory=memory
    )


def await_kept(machine: VirtualMachine) -> None:
    """Wait until the running deployment is kept for good, be it on trial or not."""
    # Asking all the time would take as much of an emulated processor as the boot itself.
    machine.run("systemctl is-system-running --wait", check=False, seconds=_WELL_SECONDS)
    kept = 'test "$(systemctl show -P ExecMainExitTimestampMonotonic bootd-bless.service)" != 0'
    deadline = time.monotonic() + _WELL_SECONDS
    while machine.ask(kept)[0] != 0:
        if time.monotonic() > deadline:
            pytest.fail(machine.run("bootctl-py health; journalctl -b -n 50", check=False))
        time.sleep(2)


def _install(folder: Path) -> None:
    disk = folder / "disk.raw"
    disk.touch()
    os.truncate(disk, _DISK_BYTES)
    settings = Settings(image=f"oci:{vm_versions()}:v1", follow=FOLLOWED)
    install_to_disk(disk, settings, Silent())


def _boot(begun: Saved, folder: Path) -> None:
    machine = VirtualMachine(begun, folder)
    try:
        machine.start()
        await_kept(machine)
        machine.run("sync")
        machine.save(folder / "memory")
    finally:
        machine.kill()
