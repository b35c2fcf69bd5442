"""A disk, or the image of one in a file, to install to.

Partitions are reached through loop devices over the part of the disk they are, not through the
kernel's own partition nodes: so a disk image in a file is handled as a disk is, nobody else mounts
what appears, and no time is spent waiting for names. The EFI system partition is filled with
mtools, without being mounted.

Invariants: the disk is claimed from the first look to the last write, so that nothing mounts it
meanwhile; whatever was attached or mounted is detached when its context ends.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bootd.boot.devices.block_device import ESP_TYPE, DiskPartition, loop_file
from bootd.durable import Disk, storage_errors
from bootd.model.errors import (
    BootPartitionFullError,
    DeviceInUseError,
    DeviceNotEmptyError,
    InvalidArgumentError,
    NoSpaceError,
    ProcessFailedError,
)
from bootd.operations.installing.disk_layout import (
    ESP_NUMBER,
    FINISHED,
    ROOT_NUMBER,
    Partition,
    is_unfinished,
    partitions_in,
    signatures_in,
    table_script,
    users_in,
)
from bootd.process import run

_log = logging.getLogger(__name__)

FORMATS: Final[dict[str, tuple[str, ...]]] = {
    # fs-verity needs the feature, and blocks as large as pages on older kernels.
    "ext4": ("mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "verity", "-L", "bootd"),
    "btrfs": ("mkfs.btrfs", "--quiet", "--force", "--label", "bootd"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-L", "bootd"),
}
"""How to make a root file system, by its type."""
_ESP_FORMAT: Final = ("mkfs.vfat", "-F", "32", "-n", "ESP")
_PACKAGES: Final = {
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "mkfs.xfs": "xfsprogs",
}
"""Debian's package of each program that is not on every machine."""
_BLOCK: Final = 512
"""What stat(2) counts a file's blocks in."""
_PROBED_BYTES: Final = 1 << 20
_PATIENCE_SECONDS: Final = 1_800.0
"""For what takes long on a slow or large disk."""
_FAT_OVERHEAD: Final = 16 << 20


def check_tools(filesystem: str) -> None:
    """Refuse to begin without a program that is needed later.

    Raises:
        ProcessFailedError: one is not installed.
    """
    for name in ("sfdisk", _ESP_FORMAT[0], "mcopy", FORMATS[filesystem][0]):
        if shutil.which(name) is None:
            raise ProcessFailedError(
                f"{name} is not installed",
                hint=f"Install it first (Debian: the package {_PACKAGES[name]}).",
            )


@contextmanager
def claimed(device: Path) -> Iterator[int]:
    """Keep everybody else off a disk for as long as the context lasts, and yield its size.

    A block device is opened exclusively, so the kernel refuses to mount it or its partitions, and
    locked, so udevd does not probe it (systemd, "Locking Block Device Access").

    Raises:
        InvalidArgumentError: it is no disk and no file, or cannot be written to.
        DeviceInUseError: it is in use; who uses it is named.
        WriteFailedError: it cannot be opened.
    """
    _require_whole_disk(device)
    users = _users(device)
    if users:
        raise DeviceInUseError(f"{device} is in use: {', '.join(users)}")
    exclusive = os.O_EXCL if device.is_block_device() else 0
    with storage_errors("open", device):
        try:
            descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC | exclusive)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise DeviceInUseError(f"the kernel says that {device} is in use") from error
            raise
    try:
        _lock(descriptor, device)
        yield os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


def refuse_contents(device: Path) -> None:
    """Refuse a disk that holds anything but an installation that did not come to its end.

    Raises:
        DeviceNotEmptyError: what it holds is named.
        WriteFailedError: it cannot be read.
    """
    found = signatures_in(run(["wipefs", "--json", "--no-act", device]).stdout)
    table = run(["sfdisk", "--json", device], expected=(0, 1))
    if table.returncode == 0:
        partitions = partitions_in(table.stdout)
        if is_unfinished(partitions):
            _log.info("%s holds an installation that did not come to its end", device)
            return
        names = ", ".join(one.name for one in partitions if one.name)
        raise DeviceNotEmptyError(
            f"{device} holds a partition table with {len(partitions)} partitions"
            + (f": {names}" if names else "")
        )
    if found:
        raise DeviceNotEmptyError(f"{device} holds {', '.join(found)}")
    with storage_errors("read", device), device.open("rb", buffering=0) as stream:
        if any(stream.read(_PROBED_BYTES)):
            raise DeviceNotEmptyError(f"{device} holds data of a kind that is not known")


def check_file_room(device: Path, image: int) -> None:
    """Refuse a disk image in a file whose file system has no room for what will be written to it.

    Holes of a file take no room until something is written there. What already takes room in it
    will be overwritten. The same goes for a loop device over a file; a disk has all its room.

    Args:
        device: the disk or file.
        image: the bytes that the image may need.

    Raises:
        NoSpaceError: with the numbers.
        WriteFailedError: the file or its file system cannot be asked.
    """
    file = loop_file(device) if device.is_block_device() else device
    if file is None or not file.is_file():
        return
    with storage_errors("measure", file):
        status, found = file.stat(), os.statvfs(file)
    free = found.f_bavail * found.f_frsize
    there = status.st_blocks * _BLOCK
    if min(image, status.st_size) > free + there:
        raise NoSpaceError(
            f"the file system of {file} has {free / 1e6:,.0f} MB free, and what is written to the "
            f"file may need {(image - there) / 1e6:,.0f} MB",
            hint="Free room there, or make the disk image elsewhere; nothing was changed.",
        )


def esp_partition(device: Path) -> DiskPartition:
    """Return the EFI system partition of a disk that was installed to.

    Raises:
        ProcessFailedError: sfdisk(8) failed.
    """
    found = run(["sfdisk", "--part-uuid", device, str(ESP_NUMBER)]).stdout
    return DiskPartition(device, ESP_NUMBER, found.decode().strip().lower(), ESP_TYPE)


def partition(device: Path, architecture: str) -> list[Partition]:
    """Write the partition table; everything on the disk is lost.

    Raises:
        ProcessFailedError: sfdisk(8) failed.
    """
    script = table_script(architecture)
    # The kernel is told at the end: while the disk is claimed it would not listen.
    options = ["--wipe", "always", "--wipe-partitions", "always", "--no-reread", "--no-tell-kernel"]
    run(["sfdisk", "--quiet", *options, device], stdin=script, timeout=_PATIENCE_SECONDS)
    return partitions_in(run(["sfdisk", "--json", device]).stdout)


def name_finished(device: Path, disk: Disk) -> None:
    """Say in the partition table that the installation came to its end, durably.

    Raises:
        ProcessFailedError: sfdisk(8) failed.
    """
    disk.sync_device(device)
    options = ["--no-reread", "--no-tell-kernel", "--part-label"]
    run(["sfdisk", "--quiet", *options, device, str(ROOT_NUMBER), FINISHED])
    disk.sync_device(device)


def tell_kernel(device: Path) -> None:
    """Let the kernel look at the partitions of a disk anew; for a file there is nothing to tell.

    Who uses them only after a reboot does not need it, so a refusal is no failure.
    """
    if device.is_block_device():
        try:
            run(["partx", "--update", device])
        except ProcessFailedError as error:
            _log.warning("%s has new partitions; the kernel sees them after a reboot", device)
            _log.debug("%s", error.message)


@contextmanager
def attached(device: Path, part: Partition) -> Iterator[Path]:
    """Give a loop device that is one partition of a disk.

    Raises:
        ProcessFailedError: losetup(8) failed.
    """
    where = ["--offset", str(part.start), "--sizelimit", str(part.size)]
    # A file system must be made for the sectors of the disk it will be mounted from.
    sector = ["--sector-size", str(part.sector)]
    done = run(["losetup", "--find", "--show", *where, *sector, device])
    loop = Path(done.stdout.decode().strip())
    try:
        yield loop
    finally:
        run(["losetup", "--detach", loop], timeout=_PATIENCE_SECONDS)


@contextmanager
def mounted(device: Path, filesystem: str, folder: Path) -> Iterator[None]:
    """Mount a file system on a folder.

    Raises:
        ProcessFailedError: mount(8) or umount(8) failed.
    """
    options = "nodev,noexec,nosuid"
    run(["mount", "-t", filesystem, "-o", options, "--", device, folder])
    try:
        yield
    finally:
        run(["umount", "--", folder], timeout=_PATIENCE_SECONDS)


def make_root(device: Path, filesystem: str) -> None:
    """Make the root file system.

    Raises:
        ProcessFailedError: mkfs failed.
    """
    run([*FORMATS[filesystem], device], timeout=_PATIENCE_SECONDS)


def check_esp_size(needed: int, size: int) -> None:
    """Refuse more than an EFI system partition can take.

    Args:
        needed: what it will hold, in bytes.
        size: of the partition.

    Raises:
        BootPartitionFullError: that is too much.
    """
    if needed > size - _FAT_OVERHEAD:
        raise BootPartitionFullError(
            f"kernel, initramfs and boot loader have {needed / 1e6:,.0f} MB; the EFI system "
            f"partition has {size / 1e6:,.0f} MB",
            hint="Make the image's initramfs smaller.",
        )


def make_esp(device: Path, size: int, contents: Path) -> None:
    """Make the EFI system partition's file system, and copy a folder's content to it.

    Args:
        device: the partition.
        size: of it, in bytes.
        contents: what it will hold.

    Raises:
        BootPartitionFullError: that is too much.
        ProcessFailedError: mkfs.vfat(8) or mcopy(1) failed.
    """
    check_esp_size(sum(path.stat().st_size for path in contents.rglob("*")), size)
    run([*_ESP_FORMAT, device], timeout=_PATIENCE_SECONDS)
    names = sorted(contents.iterdir())
    run(["mcopy", "-i", device, "-s", "-Q", *names, "::/"], timeout=_PATIENCE_SECONDS)


def _require_whole_disk(device: Path) -> None:
    try:
        mode = device.stat().st_mode
    except OSError as error:
        raise InvalidArgumentError(
            f"{device} cannot be looked at: {error.strerror}",
            hint="Name a disk ('lsblk' lists them), or make a disk image first: "
            "truncate --size 20G FILE.",
        ) from error
    if stat.S_ISREG(mode):
        return
    if not stat.S_ISBLK(mode):
        raise InvalidArgumentError(f"{device} is neither a disk nor a file")
    number = device.stat().st_rdev
    facts = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if (facts / "ro").read_text().strip() != "0":
        raise InvalidArgumentError(
            f"the kernel says that {device} is read-only",
            hint="Look for a switch on the disk, or name another one.",
        )
    if (facts / "partition").exists():
        raise InvalidArgumentError(
            f"{device} is a partition",
            hint="Name the whole disk; for a file system that is mounted there is "
            "'bootctl-py install to-filesystem'.",
        )


def _users(device: Path) -> list[str]:
    columns = ["--json", "--output", "PATH,TYPE,MOUNTPOINTS"]
    if device.is_block_device():
        return users_in(run(["lsblk", *columns, device]).stdout)
    loops = run(["losetup", "--noheadings", "--output", "NAME", "--associated", device]).stdout
    found = []
    for loop in loops.decode().split():
        users = users_in(run(["lsblk", *columns, loop]).stdout)
        found += users or [f"{loop} is attached to it"]
    return found


def _lock(descriptor: int, device: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DeviceInUseError(f"another program has locked {device}") from error
