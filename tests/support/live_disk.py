"""A host with partitions of its own: loop devices that lsblk(8) shows as parts of a disk."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bootd.boot.devices.mounts import device_number
from bootd.boot.loader.efi_variables import LOADER_VENDOR
from bootd.boot.partition import boot_partition
from bootd.operations.host import Host
from support.block_tree import ESP_TYPE, BlockTree
from support.installing import loop_device, mounted_device, tool
from support.machine import Machine, installed

UUIDS = [f"1111111{number}-1111-4111-8111-111111111111" for number in range(10)]


@dataclass
class LiveDisk:
    """Partitions of a machine that has been installed in a folder.

    Attributes:
        folder: of all of it; ``boot``, ``efi`` and ``sys`` in it are the host's.
        machine: what runs; its ``boot`` is empty until something is mounted there.
        tree: what lsblk shows.
    """

    folder: Path
    machine: Machine
    tree: BlockTree
    _stack: ExitStack = field(default_factory=ExitStack)
    _count: int = 0

    def partition(self, disk: str, kind: str = ESP_TYPE, uuid: str = "") -> Path:
        """An empty file system on a new partition; return its device."""
        device, number = self._device()
        name = f"{disk}{self._count}"
        self.tree.part(disk, name, uuid or UUIDS[self._count], kind, content="ext4", number=number)
        self._stands_for(name, device)
        return device

    def array(self, name: str, *members: str) -> Path:
        """An empty file system on a RAID array; return its device."""
        device, number = self._device()
        self.tree.array(name, *members, content="ext4", number=number)
        self._stands_for(name, device)
        return device

    def _device(self) -> tuple[Path, str]:
        self._count += 1
        image = self.folder / f"device-{self._count}.img"
        with image.open("wb") as stream:
            stream.truncate(8 << 20)
        # There is no VFAT in every kernel that tests run on.
        tool("mkfs.ext4", "-q", "-m", "0", image)
        device = self._stack.enter_context(loop_device(image))
        number = device_number(device)
        assert number is not None
        return device, number

    def _stands_for(self, name: str, device: Path) -> None:
        with (self.folder / "names.sed").open("a") as stream:
            stream.write(f's#"/dev/{name}"#"{device}"#\n')

    def fill(self, device: Path) -> None:
        """Put what the installation has on its boot partition on a device."""
        with mounted_device(device, self.folder / "mnt") as folder:
            tool("cp", "-a", f"{self.folder / 'filled'}/.", folder)

    def mount(self, device: Path, name: str, options: str = "defaults") -> Path:
        """Mount a device at a place such as ``boot``, to the end of the test."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return self._stack.enter_context(mounted_device(device, folder, options))

    def say(self, name: str, value: str) -> None:
        """Have the boot loader leave an EFI variable."""
        folder = self.machine.sysroot.efi_variables
        folder.mkdir(parents=True, exist_ok=True)
        data = b"\6\0\0\0" + f"{value}\0".encode("utf-16-le")
        (folder / f"{name}-{LOADER_VENDOR}").write_bytes(data)

    @contextmanager
    def opened(self, configured: Path | None = None, *mirrors: Path) -> Iterator[Host]:
        """The machine as a job gets it."""
        found = boot_partition(self.machine.sysroot, configured, mirrors, root=self.folder)
        with found as sysroot:
            yield replace(self.machine.host, sysroot=sysroot)

    def where(self, configured: Path | None = None) -> str:
        """Which device is taken for the boot partition, or why none is."""
        with self.opened(configured) as host:
            refused = host.sysroot.partition.refusal
            if refused is not None:
                assert not host.sysroot.boot.exists()
                return refused.message
            return tool("findmnt", "-no", "SOURCE", "--target", host.sysroot.boot).strip()


@contextmanager
def live_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveDisk]:
    """An installed machine whose boot partition is yet to be made."""
    machine = installed(folder / "machine")
    filled = machine.folder / "filled"
    (machine.folder / "boot").rename(filled)
    (machine.folder / "boot").mkdir()
    tree = BlockTree(folder / "tree")
    programs = folder / "bin"
    programs.mkdir()
    real = tool("sh", "-c", "command -v lsblk").strip()
    names = machine.folder / "names.sed"
    names.touch()
    shown = f'{real} --sysroot {folder}/tree "$@" | sed -f {names}'
    (programs / "lsblk").write_text(f"#!/bin/sh\n{shown}\n")
    (programs / "lsblk").chmod(0o755)
    path = subprocess.run(["printenv", "PATH"], check=True, capture_output=True, text=True).stdout
    monkeypatch.setenv("PATH", f"{programs}:{path.strip()}")
    disk = LiveDisk(machine.folder, machine, tree)
    with disk._stack:
        yield disk


@contextmanager
def automount(folder: Path) -> Iterator[None]:
    """A real automount on a folder; the daemon that would mount something is gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    reading, writing = os.pipe()
    nobody = subprocess.Popen(["sleep", "infinity"], start_new_session=True)
    options = f"fd={writing},pgrp={nobody.pid},minproto=5,maxproto=5,direct"
    try:
        done = libc.mount(b"automount", bytes(folder), b"autofs", 0, options.encode())
        assert done == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(reading)
        os.close(writing)
        nobody.kill()
        nobody.wait()
    try:
        yield
    finally:
        tool("umount", folder)
