"""Block devices as lsblk(8) lists them, and which of them lie on which.

Nothing a listing holds is an error but that it is no listing: a column that is missing, or holds
another type than it should, counts as empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from bootd.model.errors import NoBootPartitionError

COLUMNS: Final = (
    *("KNAME", "PATH", "PARTUUID", "PARTTYPE", "PKNAME"),
    *("TYPE", "FSTYPE", "UUID", "MAJ:MIN"),
)
"""What a listing has to be asked for; not as ``--list``, which names one of several parents."""

_PLAIN: Final = ("disk", "part", "loop", "rom")
_COMPOSED: Final = ("/dev/md", "/dev/mapper/", "/dev/dm-")
"""Where such devices stand, for a listing without their types."""
_MAX_LISTING: Final = 16 << 20
_MAX_DEVICES: Final = 50_000


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A disk, a partition, or what the kernel made of some.

    Attributes:
        name: the kernel's name for it, such as ``sda1`` or ``dm-0``.
        path: where it stands in ``/dev``.
        partition: its partition UUID in lower case, or "".
        partition_type: its partition type in lower case, or "".
        kind: ``disk``, ``part``, ``raid1``, ``mpath``, ``crypt`` and the like, or "".
        content: the type of file system on it, or "".
        file_system: that file system's UUID, or "".
        number: major and minor number, as ``8:1``, or "".
        parents: names of what it lies on.
    """

    name: str
    path: str
    partition: str
    partition_type: str
    kind: str
    content: str
    file_system: str
    number: str
    parents: frozenset[str]

    @property
    def is_composed(self) -> bool:
        """Whether the kernel made it of its parents: an array, a mapping, a multipath device."""
        if self.kind:
            return self.kind not in _PLAIN
        return not self.partition and self.path.startswith(_COMPOSED)


class BlockDevices:
    """All of a machine's, in the order of the listing.

    Args:
        listing: what ``lsblk --json --output`` with `COLUMNS` prints.

    Raises:
        NoBootPartitionError: it is no such listing, or longer than any machine's.
    """

    def __init__(self, listing: bytes) -> None:
        self._devices: dict[str, BlockDevice] = {}
        for device in _rows(listing):
            known = self._devices.get(device.name)
            parents = device.parents | (known.parents if known else frozenset())
            self._devices[device.name] = replace(known or device, parents=parents)

    def __iter__(self) -> Iterator[BlockDevice]:
        return iter(self._devices.values())

    def named(self, names: Iterable[str]) -> list[BlockDevice]:
        """Return the devices with some of the kernel's names, as far as they are listed."""
        return [self._devices[name] for name in sorted(names) if name in self._devices]

    def parents(self, device: BlockDevice) -> list[BlockDevice]:
        """Return what a device lies on directly, as far as it is listed."""
        return self.named(device.parents)

    def composed_of(self, device: BlockDevice) -> list[BlockDevice]:
        """Return what the kernel made of a device, with others or alone."""
        return [other for other in self if device.name in other.parents and other.is_composed]

    def below(self, device: BlockDevice) -> frozenset[str]:
        """Return the names of all that a device lies on, directly or not."""
        lower_ones: dict[str, BlockDevice] = {}
        waiting = self.parents(device)
        while waiting:
            lower = waiting.pop()
            if lower.name not in lower_ones:
                lower_ones[lower.name] = lower
                waiting += self.parents(lower)
        return frozenset(lower_ones)

    def disks(self, device: BlockDevice) -> frozenset[str]:
        """Return the names of the disks that a device lies on in the end; a disk is its own."""
        names = self.below(device) | {device.name}
        return frozenset(name for name in names if not self.parents(self._devices[name]))


def _rows(listing: bytes) -> Iterator[BlockDevice]:
    if len(listing) > _MAX_LISTING:
        raise NoBootPartitionError(f"lsblk printed {len(listing)} bytes, which no machine needs")
    try:
        waiting = [(row, "") for row in reversed(json.loads(listing)["blockdevices"])]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        shown = listing[:100].decode(errors="replace")
        raise NoBootPartitionError(
            f"lsblk printed {shown!r}, which is no list of block devices",
            hint="'lsblk --json' shows it; mount the boot partition and name it with "
            "boot_partition in bootd.toml if that cannot be mended.",
        ) from error
    for _ in range(_MAX_DEVICES):
        if not waiting:
            return
        row, parent = waiting.pop()
        if not isinstance(row, dict) or not _text(row, "path"):
            continue
        device = _device(row, parent)
        children = row.get("children")
        below = children if isinstance(children, list) else []
        waiting += [(child, device.name) for child in reversed(below)]
        yield device
    raise NoBootPartitionError(f"lsblk lists more than {_MAX_DEVICES} block devices")


def _device(row: dict[str, Any], parent: str) -> BlockDevice:
    path = _text(row, "path")
    return BlockDevice(
        name=_text(row, "kname") or path.rpartition("/")[2],
        path=path,
        partition=_text(row, "partuuid").lower(),
        partition_type=_text(row, "parttype").lower(),
        kind=_text(row, "type"),
        content=_text(row, "fstype"),
        file_system=_text(row, "uuid"),
        number=_text(row, "maj:min"),
        parents=frozenset({parent, _text(row, "pkname")} - {""}),
    )


def _text(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    return value if isinstance(value, str) else ""
