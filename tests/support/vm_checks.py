"""A disk as a power cut left it, looked at without booting: would it, and is everything there?"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from bootd.model.deployment import DeploymentId
from bootd.operations.disk_layout import ESP_NUMBER, ROOT_NUMBER
from bootd.operations.fsck import fsck
from bootd.operations.host import open_host
from bootd.operations.progress import Silent
from bootd.process import run
from support.installing import mounted_device
from support.loader import boot
from support.vm_power import partition

_REPLAYED = (0, 1)
"""e2fsck(8): nothing was wrong, or it was mended; a journal that is replayed may be either."""


def check_disk(disk: Path, work: Path, edits: dict[str, str]) -> DeploymentId:
    """Fail unless a disk boots a complete deployment that has these edits of ``/etc``.

    Args:
        disk: the raw disk image; its journal is replayed, and at the end it is removed.
        work: an empty folder for what is mounted.
        edits: contents by name in ``/etc``.

    Returns:
        The deployment that would boot.
    """
    boot_folder, root = work / "boot", work / "root"
    boot_folder.mkdir()
    root.mkdir()
    with partition(disk, ESP_NUMBER) as esp:
        run(["fsck.vfat", "-n", esp])
        # Not every kernel can mount it.
        run(["mcopy", "-s", "-Q", "-n", "-i", esp, "::/", boot_folder])
    with partition(disk, ROOT_NUMBER) as device:
        run(["e2fsck", "-E", "journal_only", "-p", device], expected=_REPLAYED)
        run(["e2fsck", "-f", "-n", device])
        with mounted_device(device, root):
            booted = _check_machine(root, boot_folder, work, edits)
    shutil.rmtree(work)
    disk.unlink()
    return booted


def _check_machine(
    root: Path, boot_folder: Path, work: Path, edits: dict[str, str]
) -> DeploymentId:
    host = open_host(root)
    sysroot = replace(
        host.sysroot, boot=boot_folder, run=work / "run", command_line=work / "cmdline"
    )
    # Entries of deployments that are gone are damage; what an interrupted write left is not.
    found = fsck(replace(host, sysroot=sysroot), Silent())
    assert not found.damages, found.damages
    booted = boot(sysroot)
    etc = sysroot.deployment(booted) / "etc"
    for name, content in edits.items():
        assert (etc / name).read_text() == content, f"{booted} has lost its edit of /etc/{name}"
    return booted
