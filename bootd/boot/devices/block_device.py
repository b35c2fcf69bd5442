"""What a block device is: what it holds, and which partition of which disk it is.

Both are read off the device itself and off sysfs, not asked of udev, which may not run or not have
looked yet. A loop device over a part of a disk is the partition that begins there: so bootd
installs itself, and so disk images are mounted where the kernel does not show their partitions.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.process import run

ESP_TYPE: Final = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
"""UAPI.2 Discoverable Partitions Specification; the type of what firmware starts from."""
_NOTHING, _AMBIGUOUS = 2, 8
"""What blkid(8) ends with where it cannot name a file system, or could name several."""
_DEVICES: Final = Path("/sys/dev/block")
_LAST_NUMBER: Final = re.compile(r"[0-9]+$", re.ASCII)


@dataclass(frozen=True, slots=True)
class DiskPartition:
    """A partition of a disk.

    Attributes:
        disk: the disk's device, or the file that is one.
        number: which one, from 1.
        uuid: its own, lower case; not that of a file system in it.
        kind: the type in the partition table, lower case; a GUID with GPT.
    """

    disk: Path
    number: int
    uuid: str
    kind: str


def probe(device: Path) -> dict[str, str]:
    """Return what blkid(8) reads off a device, by its names; nothing where it knows nothing.

    Raises:
        ProcessFailedError: the device cannot be read.
    """
    done = run(
        ["blkid", "--probe", "--output", "export", device], expected=(0, _NOTHING, _AMBIGUOUS)
    )
    lines = done.stdout.decode(errors="replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def partitions_of(device: Path) -> list[DiskPartition]:
    """Return the partitions that firmware sees a device as.

    That is the one that it is, or each member of an md array; none for a whole disk.

    Raises:
        ProcessFailedError: a device cannot be read.
    """
    members = _facts(device) / "slaves"
    if md_metadata(device) is None or not members.is_dir():
        partition = _partition_of(device)
        return [] if partition is None else [partition]
    devices = [Path("/dev", member.name) for member in sorted(members.iterdir())]
    return [partition for one in devices if (partition := _partition_of(one)) is not None]


def md_metadata(device: Path) -> str | None:
    """Return the version of an md array's metadata, such as ``1.0``; None: it is no md array."""
    version = _facts(device) / "md/metadata_version"
    return version.read_text().strip() if version.is_file() else None


def _partition_of(device: Path) -> DiskPartition | None:
    """Return which partition a device is; None: a whole disk, or something that lies on none.

    Raises:
        ProcessFailedError: the device cannot be read.
    """
    facts = probe(device)
    if "PART_ENTRY_NUMBER" not in facts:
        return _looped_partition(device)
    disk = _DEVICES / facts["PART_ENTRY_DISK"]
    return DiskPartition(
        disk=Path("/dev", disk.resolve().name.replace("!", "/")),
        number=int(facts["PART_ENTRY_NUMBER"]),
        uuid=facts.get("PART_ENTRY_UUID", "").lower(),
        kind=facts.get("PART_ENTRY_TYPE", "").lower(),
    )


def is_removable(disk: Path) -> bool:
    """Tell whether a disk is one that people carry from machine to machine."""
    listing = run(["lsblk", "--json", "--nodeps", "--output", "RM,TRAN", disk]).stdout
    [facts] = json.loads(listing)["blockdevices"]
    return bool(facts["rm"]) or facts["tran"] == "usb"


def loop_file(device: Path) -> Path | None:
    """Return the file or device that a loop device shows, or None: it is no loop device."""
    backing = _facts(device) / "loop/backing_file"
    return Path(backing.read_text().rstrip("\n")) if backing.is_file() else None


def _looped_partition(device: Path) -> DiskPartition | None:
    disk = loop_file(device)
    if disk is None:
        return None
    offset = int((_facts(device) / "loop/offset").read_text())
    done = run(["sfdisk", "--json", disk], expected=(0, 1))
    if offset == 0 or done.returncode != 0:
        return None
    table = json.loads(done.stdout)["partitiontable"]
    sector = int(table.get("sectorsize", 512))
    for one in table.get("partitions", ()):
        number = _LAST_NUMBER.search(one["node"])
        if int(one["start"]) * sector == offset and number is not None:
            identity, kind = one.get("uuid", "").lower(), one["type"].lower()
            return DiskPartition(disk, int(number[0]), identity, kind)
    return None


def _facts(device: Path) -> Path:
    number = device.stat().st_rdev
    return _DEVICES / f"{os.major(number)}:{os.minor(number)}"
