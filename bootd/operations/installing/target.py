"""The mounted file systems a machine is installed into: what they are, and if they will do.

All of it is found out before the first byte of an image is fetched, and nothing is written.

Which file system firmware starts a machine from: VFAT, as UEFI 2.10 has it (section 13.3), is what
all firmware reads. U-Boot and drivers for EDK II read ext4 as well; that is believed where the
partition table calls the partition an EFI system partition, or where the loader that firmware
looks for is there already. Every other file system is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bootd.boot.devices.block_device import (
    ESP_TYPE,
    DiskPartition,
    md_metadata,
    partitions_of,
    probe,
)
from bootd.boot.loader.install import EFI_NAMES
from bootd.durable import storage_errors
from bootd.model.errors import BootPartitionFullError, InvalidArgumentError
from bootd.operations.installing.root_stack import stack_warnings
from bootd.process import run

_READ_BY_SOME_FIRMWARE: Final = frozenset({"ext2", "ext3", "ext4"})
_WITHOUT_OWNERS: Final = frozenset(
    {"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "hfsplus"}
)
"""File systems that do not keep owners, modes and hard links as Linux has them."""
_ESP_TYPES: Final = frozenset({ESP_TYPE, "0xef", "ef"})
"""With GPT and with MBR, as blkid(8) and sfdisk(8) spell them."""
_SMALLEST_BOOT: Final = 16 << 20
"""No kernel with an initramfs and two copies of a boot loader is smaller than that."""
MORE_ROOM: Final = (
    "Remove files that are not wanted, or make a larger partition; 1 GB has room for several "
    "kernels."
)
"""What helps where an EFI system partition is full and no machine is installed yet."""
_METADATA_AT_THE_END: Final = frozenset({"0.90", "1.0"})
"""Of an md array; with other versions its file system does not begin where its members do."""


@dataclass(frozen=True, slots=True)
class RootFileSystem:
    """What the kernel has to be told to find the root file system.

    Attributes:
        kind: its type.
        uuid: its UUID; empty where it has none, and somebody else tells the kernel.
        subvolume: the Btrfs subvolume that is mounted, from the top of the file system; ``/`` for
            the top itself.
    """

    kind: str
    uuid: str
    subvolume: str = "/"

    @property
    def arguments(self) -> tuple[str, ...]:
        """The kernel arguments that name it."""
        flags = () if self.subvolume == "/" else (f"rootflags=subvol={self.subvolume}",)
        return f"root=UUID={self.uuid}", *flags


@dataclass(frozen=True, slots=True)
class Target:
    """Where a machine is going to be.

    Attributes:
        root: the root file system.
        device: what that is on.
        partitions: what firmware sees the EFI system partition as: one, each member of a RAID
            array, or none.
        warnings: what may keep the machine from starting; a sentence each.
    """

    root: RootFileSystem
    device: Path
    partitions: tuple[DiskPartition, ...]
    warnings: tuple[str, ...]

    def stack_warnings(self, arguments: Sequence[str]) -> list[str]:
        """Return what an initramfs has to be told to reach the root file system, and is not.

        Args:
            arguments: all kernel arguments of the machine.

        Raises:
            ProcessFailedError: the device cannot be looked at.
        """
        columns = ["--output", "PATH,TYPE,FSTYPE,UUID"]
        listing = run(["lsblk", "--json", "--inverse", *columns, self.device]).stdout
        return stack_warnings(listing, arguments)


@dataclass(frozen=True, slots=True)
class _Mounted:
    folder: Path
    source: str
    kind: str
    subvolume: str

    @property
    def device(self) -> Path:
        # Btrfs names the subvolume behind the device.
        return Path(self.source.partition("[")[0])


def look_at(
    root: Path, esp: Path, architecture: str, arguments: tuple[str, ...], *, again: bool
) -> Target:
    """Return what two mounted file systems are, or refuse them.

    Args:
        root: where the root file system is mounted.
        esp: where the EFI system partition is mounted.
        architecture: the machine's, as uname(2) calls it.
        arguments: the kernel arguments that were asked for.
        again: an installation that did not come to its end has left something here.

    Raises:
        InvalidArgumentError: one of them cannot be what it was given for.
        BootPartitionFullError: the EFI system partition cannot take any kernel.
        ProcessFailedError: a device cannot be looked at.
        WriteFailedError: a file system cannot be asked.
    """
    named = any(argument.startswith("root=") for argument in arguments)
    found = _mounted(root)
    boot = _mounted(esp)
    if found.device == boot.device or root.stat().st_dev == esp.stat().st_dev:
        raise InvalidArgumentError(
            f"{root} and {esp} are the same file system",
            hint="Firmware starts a machine from a partition of its own: mount that, and name it "
            "with --esp.",
        )
    machine_root = _look_at_root(found, named=named)
    partitions = _look_at_esp(boot, architecture)
    if not again:
        _check_room(esp)
    warnings = [text for one in partitions for text in _type_warnings(esp, one)]
    return Target(machine_root, found.device, tuple(partitions), tuple(warnings))


def filesystem_uuid(device: Path) -> str:
    """Return the UUID of the file system on a device; empty: it has none.

    Raises:
        ProcessFailedError: the device cannot be read.
    """
    return probe(device).get("UUID", "")


def check_boot_room(boot: Path, needed: int, kernel: int) -> list[str]:
    """Refuse an EFI system partition that has no room for a kernel and a loader.

    Args:
        boot: where it is mounted.
        needed: the bytes that will be written.
        kernel: the size of a kernel with its initramfs.

    Returns:
        A warning if no second kernel will fit, as upgrades need it.

    Raises:
        BootPartitionFullError: with the numbers.
        WriteFailedError: the file system cannot be asked.
    """
    free, size = _room(boot)
    if needed > free:
        raise BootPartitionFullError(
            f"kernel, initramfs and boot loader of the image need {needed / 1e6:,.1f} MB; the EFI "
            f"system partition has {free / 1e6:,.1f} MB of {size / 1e6:,.1f} MB free",
            hint=MORE_ROOM,
        )
    left = free - needed
    if left > kernel:
        return []
    warning = (
        f"The EFI system partition has room for this kernel ({kernel / 1e6:,.0f} MB with its "
        f"initramfs) and no second one: {left / 1e6:,.0f} MB of {size / 1e6:,.0f} MB are left. An "
        "upgrade that brings another kernel will be refused."
    )
    return [warning]


def _look_at_root(found: _Mounted, *, named: bool) -> RootFileSystem:
    _require_device(found, "the root file system")
    if found.kind in _WITHOUT_OWNERS:
        raise InvalidArgumentError(
            f"{found.folder} is {found.kind}, which keeps no owners and permissions of files",
            hint="Use ext4, Btrfs or XFS for the root file system.",
        )
    _require_writable(found.folder)
    if found.subvolume != "/" and found.kind != "btrfs":
        raise InvalidArgumentError(
            f"{found.folder} is the folder {found.subvolume} of a file system and not its top",
            hint="Mount the file system itself.",
        )
    uuid = filesystem_uuid(found.device)
    if not uuid and not named:
        raise InvalidArgumentError(
            f"{found.device}, which is mounted on {found.folder}, has no UUID that blkid can read",
            hint="Say how the kernel finds it: --kernel-argument root=PARTUUID=… (or another name "
            "of it that stays).",
        )
    return RootFileSystem(found.kind, uuid, found.subvolume)


def _look_at_esp(found: _Mounted, architecture: str) -> list[DiskPartition]:
    _require_device(found, "the EFI system partition")
    metadata = md_metadata(found.device)
    if metadata is not None and metadata not in _METADATA_AT_THE_END:
        raise InvalidArgumentError(
            f"{found.folder} is on {found.device}, an md array with metadata {metadata} at its "
            "beginning, where firmware looks for a file system",
            hint="Make the array with 'mdadm --create --metadata=1.0'.",
        )
    partitions = partitions_of(found.device)
    if found.kind != "vfat":
        loader = found.folder / f"EFI/BOOT/BOOT{EFI_NAMES[architecture].upper()}.EFI"
        declared = any(one.kind in _ESP_TYPES for one in partitions)
        believed = found.kind in _READ_BY_SOME_FIRMWARE and (declared or loader.is_file())
        if not believed:
            raise InvalidArgumentError(
                f"{found.folder} is {found.kind}; firmware starts a machine from VFAT only",
                hint="Mount the EFI system partition and name it with --esp; 'mkfs.vfat -F 32' "
                "makes the file system of a new one.",
            )
    _require_writable(found.folder)
    return partitions


def _require_device(found: _Mounted, what: str) -> None:
    if not found.device.is_block_device():
        raise InvalidArgumentError(
            f"{found.folder} is {found.kind} from {found.source!r}, which is no disk or partition",
            hint=f"Mount {what} of the disk that the machine shall start from.",
        )


def _require_writable(folder: Path) -> None:
    with storage_errors("look at", folder):
        flags = os.statvfs(folder).f_flag
    if flags & os.ST_RDONLY:
        raise InvalidArgumentError(
            f"{folder} is mounted read-only",
            hint=f"'mount -o remount,rw {folder}' makes it writable; where the kernel refuses that "
            "or has done it itself, the file system has to be checked first.",
        )


def _check_room(esp: Path) -> None:
    free, size = _room(esp)
    if free < _SMALLEST_BOOT:
        raise BootPartitionFullError(
            f"{esp} has {free / 1e6:,.0f} MB of {size / 1e6:,.0f} MB free; no kernel with its "
            f"initramfs and boot loader takes less than {_SMALLEST_BOOT / 1e6:,.0f} MB",
            hint=MORE_ROOM,
        )


def _room(folder: Path) -> tuple[int, int]:
    """Return the free bytes and all bytes of a file system."""
    with storage_errors("measure", folder):
        found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _type_warnings(esp: Path, partition: DiskPartition) -> list[str]:
    if partition.kind in _ESP_TYPES:
        return []
    mend = f"sfdisk --part-type {partition.disk} {partition.number} {ESP_TYPE}"
    warning = (
        f"{esp} is a partition of the type {partition.kind} and not an EFI system partition, so "
        f"firmware may not start from it; '{mend}' makes it one."
    )
    return [warning]


def _mounted(folder: Path) -> _Mounted:
    if folder.is_dir():
        # What is mounted automatically is so from here on.
        os.statvfs(folder)
    columns = "SOURCE,FSTYPE,FSROOT"
    command = ["findmnt", "--json", "--output", columns, "--mountpoint", str(folder)]
    done = run(command, expected=(0, 1))
    if done.returncode != 0:
        raise InvalidArgumentError(
            f"nothing is mounted on {folder}",
            hint="Mount the root file system and the EFI system partition first.",
        )
    facts: dict[str, Any] = json.loads(done.stdout)["filesystems"][-1]
    return _Mounted(folder, str(facts["source"]), str(facts["fstype"]), str(facts["fsroot"]))
