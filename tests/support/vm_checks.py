"""A disk as a power cut left it, looked at without booting: would it, and is everything there?"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from bootd.model.deployment import DeploymentId
from bootd.operations.fsck import fsck
from bootd.operations.host import open_host
from bootd.operations.installing.disk_layout import ESP_NUMBER, ROOT_NUMBER
from bootd.operations.progress import Silent
from bootd.process import run
from support.installing import mounted_device
from support.loader import boot
from support.vm_power import partition

_HARMLESS = re.compile(
    r"|fsck\.fat .*|/dev/.*: \d+ files, \d+/\d+ clusters|Leaving filesystem unchanged\."
    # Linux sets this while it is mounted, and nobody unmounted it.
    r"|Dirty bit is set\..*|Automatically removing dirty bit\."
    r"|There are differences between boot sector and its backup\.|Not automatically fixing this\."
    r"|This is mostly harmless\. Differences: .*|65:01/00"
    # A count that is only a hint, and the second table, written after the first.
    r"|Free cluster summary wrong .*|Auto-correcting\.|FATs differ but appear to be intact\."
    r"|Using first FAT\."
    # Taken for a file whose entry was not written any more.
    r"|Reclaimed \d+ unused clusters? .*"
)
_LOADERS = ("BOOT/BOOTX64.EFI", "systemd/systemd-bootx64.efi")
_EXTENTS = "0x80000"
"""EXT4_EXTENTS_FL alone (Linux, fs/ext4/ext4.h)."""
_REPLAYED = (0, 1)
"""e2fsck(8): nothing was wrong, or it was mended; a journal that is replayed may be either."""


@dataclass(frozen=True)
class Wanted:
    """What a disk has to hold.

    Attributes:
        edits: contents by name in ``/etc``.
        loaders: SHA-256 of each boot loader that may be there, in hex.
        esps: numbers of the EFI system partitions; each has to boot, the first one does.
    """

    edits: dict[str, str]
    loaders: frozenset[str]
    esps: tuple[int, ...] = (ESP_NUMBER,)


def check_disk(disk: Path, work: Path, wanted: Wanted) -> DeploymentId:
    """Fail unless a disk boots a complete deployment that has the edits of ``/etc``.

    Args:
        disk: the raw disk image; its journal is replayed, and at the end it is removed.
        work: an empty folder for what is mounted.
        wanted: what it has to hold.

    Returns:
        The deployment that would boot.
    """
    root = work / "root"
    root.mkdir()
    boot_folders = [_boot_folder(disk, number, work, wanted.loaders) for number in wanted.esps]
    with partition(disk, ROOT_NUMBER) as device:
        run(["e2fsck", "-E", "journal_only", "-p", device], expected=_REPLAYED)
        run(["e2fsck", "-f", "-n", device])
        _unseal(device, root)
        with mounted_device(device, root):
            booted = [_check_machine(root, boot, work, wanted.edits) for boot in boot_folders]
    shutil.rmtree(work)
    disk.unlink()
    return booted[0]


def _boot_folder(disk: Path, number: int, work: Path, loaders: frozenset[str]) -> Path:
    """Return a copy of what is on an EFI system partition, which is sound."""
    folder = work / f"boot-{number}"
    folder.mkdir()
    with partition(disk, number) as esp:
        _check_boot_partition(esp)
        # Not every kernel can mount it.
        run(["mcopy", "-s", "-Q", "-n", "-i", esp, "::/", folder])
    _check_loaders(folder, loaders)
    return folder


def _check_boot_partition(esp: Path) -> None:
    """Fail unless a FAT file system is sound but for what a cut leaves of one that is in use."""
    done = run(["fsck.vfat", "-n", esp], expected=_REPLAYED)
    said = done.stdout.decode().splitlines()
    found = [line for line in said if _HARMLESS.fullmatch(line.strip()) is None]
    assert found == [], "\n".join(said)


def _check_loaders(boot_folder: Path, loaders: frozenset[str]) -> None:
    """Fail unless there is a whole loader under each name that a firmware may start."""
    for name in _LOADERS:
        data = (boot_folder / "EFI" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() in loaders, f"{name} has {len(data)} bytes"


def _unseal(device: Path, folder: Path) -> None:
    """Take fs-verity off objects and images if this kernel has none: it cannot even open them.

    Their contents are measured all the same.
    """
    sealed: set[int] = set()
    with mounted_device(device, folder, "ro"):
        for inner in (folder / "bootd").glob("[oid]*/*/"):
            with os.scandir(inner) as entries:
                files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
            sealed.update(entry.inode() for entry in files if not _can_open(entry.path))
    orders = "".join(f"set_inode_field <{inode}> flags {_EXTENTS}\n" for inode in sealed)
    run(["debugfs", "-w", "-f", "-", device], stdin=orders.encode())


def _can_open(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return False
    return True


def _check_machine(
    root: Path, boot_folder: Path, work: Path, edits: dict[str, str]
) -> DeploymentId:
    host = open_host(root)
    sysroot = replace(
        host.sysroot, boot=boot_folder, run=work / "run", command_line=work / "cmdline"
    )
    machine = replace(host, sysroot=sysroot)
    damages = fsck(machine, Silent()).damages
    if {one.what for one in damages} == {"loader"}:
        # A cut between the two names of the loader leaves a new and an old one. That is mended now.
        damages = fsck(machine, Silent()).damages
    # Entries of deployments that are gone are damage; what an interrupted write left is not.
    assert not damages, damages
    booted = boot(sysroot)
    etc = sysroot.deployment(booted) / "etc"
    for name, content in edits.items():
        assert (etc / name).read_text() == content, f"{booted} has lost its edit of /etc/{name}"
    return booted
