"""The partitions of an installed disk, and what a disk says about itself. Pure.

A GPT by the UAPI.2 Discoverable Partitions Specification: an EFI system partition and a root
partition of this architecture's type. While an installation is under way the root partition has
the name `UNFINISHED`; a disk that has it may be installed to again without being asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from bootd.boot.devices.block_device import ESP_TYPE
from bootd.model.errors import NoSpaceError

ESP_BYTES: Final = 1 << 30
"""Room for some kernels with an initramfs each; UAPI.1 wants at least this for ``$BOOT``."""
MINIMUM_ROOT: Final = 1 << 30
_ALIGNMENT: Final = 2 << 20
"""The tables at both ends, and partitions that start at multiples of 1 MiB."""
ROOT_TYPES: Final = {
    "x86_64": "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    "aarch64": "b921b045-1df0-41c3-af44-4c6f280d3fae",
    "riscv64": "72ec70a6-cf74-40e6-bd49-4bda08e8f224",
}
"""By the machine name of uname(2)."""
ESP_NUMBER: Final = 1
ROOT_NUMBER: Final = 2
FINISHED: Final = "bootd"
UNFINISHED: Final = "bootd-unfinished"


@dataclass(frozen=True, slots=True)
class Partition:
    """A piece of a disk; `start` and `size` in bytes, `sector` the disk's logical sector size."""

    name: str
    start: int
    size: int
    sector: int


def table_script(architecture: str) -> bytes:
    """Return the input of sfdisk(8) that makes the partitions."""
    return (
        "label: gpt\n"
        f'size={ESP_BYTES >> 20}MiB, type={ESP_TYPE}, name="esp"\n'
        f'type={ROOT_TYPES[architecture]}, name="{UNFINISHED}"\n'
    ).encode()


def partitions_in(dump: bytes) -> list[Partition]:
    """Return the partitions that ``sfdisk --json`` prints, in their order."""
    table = json.loads(dump)["partitiontable"]
    # Tables other than GPT, and old versions of sfdisk, do not name the size of a sector.
    sector = int(table.get("sectorsize", 512))
    return [
        Partition(
            name=str(one.get("name", "")),
            start=int(one["start"]) * sector,
            size=int(one["size"]) * sector,
            sector=sector,
        )
        for one in table.get("partitions", ())
    ]


def is_unfinished(partitions: list[Partition]) -> bool:
    """Tell whether these are what an installation left that did not come to its end."""
    return len(partitions) == ROOT_NUMBER and partitions[-1].name == UNFINISHED


def signatures_in(listing: bytes) -> list[str]:
    """Return the types that ``wipefs --json`` prints, each once; nothing is printed for none."""
    found = json.loads(listing or b"{}").get("signatures", ())
    return list(dict.fromkeys(str(one["type"]) for one in found))


def users_in(listing: bytes) -> list[str]:
    """Return who uses a disk, in words, from ``lsblk --json`` with PATH, TYPE and MOUNTPOINTS."""
    return [text for device in json.loads(listing)["blockdevices"] for text in _users(device, None)]


def _users(device: dict[str, Any], below: str | None) -> Iterator[str]:
    path = device["path"]
    for mounted in filter(None, device.get("mountpoints", ())):
        yield f"{path} is swap space" if mounted == "[SWAP]" else f"{path} is mounted on {mounted}"
    if below is not None and device["type"] != "part":
        yield f"{below} is used by {path} ({device['type']})"
    for child in device.get("children", ()):
        yield from _users(child, path)


def check_size(device: str, size: int, image: int) -> None:
    """Refuse a disk that is too small.

    Args:
        device: what to call it.
        size: its size in bytes.
        image: the bytes that the image may need.

    Raises:
        NoSpaceError: with the numbers.
    """
    needed = ESP_BYTES + max(MINIMUM_ROOT, image) + _ALIGNMENT
    if size < needed:
        raise NoSpaceError(
            f"{device} has {size / 1e6:,.0f} MB; an installation may need {needed / 1e6:,.0f} MB",
            hint="Name a larger disk; nothing was changed.",
        )
