"""Machines whose ``$BOOT`` is a small file system of its own, and images with a kernel each."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.installing import tool
from support.machine import KERNEL, Machine, Pack, publish

MIB = 1 << 20


@contextmanager
def small_boot(folder: Path, size: int, kind: str = "tmpfs") -> Iterator[Machine]:
    """A machine without a deployment, with a ``$BOOT`` of a size: a tmpfs, or ext4 in a file.

    Many kernels that tests run under know no VFAT; the scenarios in virtual machines have that.
    """
    machine = Machine(folder / "root", folder / "image")
    boot = machine.folder / "boot"
    boot.mkdir(parents=True)
    if kind == "tmpfs":
        tool("mount", "-t", "tmpfs", "-o", f"size={size}", "boot", boot)
    else:
        disk = folder / "boot.img"
        with disk.open("wb") as stream:
            stream.truncate(size)
        tool("mkfs.ext4", "-q", "-m", "0", "-b", "4096", "-O", "^has_journal", disk)
        tool("mount", "-o", "loop", disk, boot)
    try:
        yield machine
    finally:
        tool("umount", boot)


def release(
    machine: Machine,
    version: str,
    initramfs: int = MIB,
    *,
    same_as: str = "",
    pack: Pack = bytes,
) -> None:
    """Publish a version whose initramfs is its own, or that of another version."""
    content = random.Random(same_as or version).randbytes(initramfs)
    publish(machine.image, version, pack, **{f"usr/lib/modules/{KERNEL}/initramfs.img": content})


def limit_boot(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let every folder ``boot`` of a machine be as large as that, in the eyes of statvfs(3).

    Machines are copied and cut hundreds of times, and what was removed has to come back.
    """
    ask = os.statvfs
    block = 4_096

    def limited(path: object) -> os.statvfs_result:
        found = ask(path)  # type: ignore[arg-type]
        if not isinstance(path, Path) or path.name != "boot":
            return found
        taken = sum(one.lstat().st_blocks * 512 for one in path.rglob("*"))
        free = max(0, size - taken) // block
        head = (block, block, size // block, free, free)
        return os.statvfs_result((*head, *found[5:]))

    monkeypatch.setattr(os, "statvfs", limited)
