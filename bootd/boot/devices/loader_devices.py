"""The rule by which a partition that the boot loader names becomes a device to mount.

The loader reads a partition of one disk. Linux may have made it, or the whole disk, a part of
something larger: a RAID array, a multipath device, a mapping. Then the partition must not be
mounted itself, for what is written to it would miss the rest; what was made of it is mounted.

Sources: UAPI.1, "The $BOOT Partition Placeholder"; UAPI.2 for the type of XBOOTLDR; lsblk(8).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from bootd.boot.devices.block_devices import BlockDevice, BlockDevices
from bootd.model.errors import NoBootPartitionError

XBOOTLDR_TYPES: Final = ("bc13c2ff-59e6-4262-a352-b275fd6f7172", "0xea")
"""The partition type in a GPT, and in a DOS partition table."""

_OPAQUE: Final = {"crypt": "encrypted", "lvm": "a volume of LVM"}
"""What a firmware does not see through, by its kind."""
_RAID_MEMBER: Final = "_raid_member"
_PATH_MEMBER: Final = "mpath_member"
_MAX_LAYERS: Final = 16
_NO_FILE_SYSTEM: Final = ("crypto_LUKS", "LVM2_member", "swap", "zfs_member", "bcache")


def boot_device(listing: bytes, partition: str, near: Collection[str] = ()) -> Path:
    """Return the device to mount for the partition that the boot loader came from.

    Args:
        listing: see `BlockDevices`.
        partition: the UUID of that partition.
        near: names of the disks that the root file system is on; of two partitions with the same
            UUID, the one there is meant.

    Raises:
        NoBootPartitionError: there is no such partition, or it cannot be told which of several is
            meant, or what was made of it is not there; or it is no listing.
    """
    devices = BlockDevices(listing)
    wanted = partition.lower()
    named = [device for device in devices if device.partition == wanted]
    if not named:
        raise NoBootPartitionError(
            f"the boot loader came from partition {partition}, which no block device has",
            hint="Attach the disk that the machine was started from, or start it from its own.",
        )
    whole = _without_parts(devices, named) or named
    tops = {top.name: top for top in (_uppermost(devices, device) for device in whole)}
    close = [top for top in tops.values() if devices.disks(top) & {*near}]
    meant = close if len(tops) > 1 else [*tops.values()]
    if len(meant) != 1:
        paths = " and ".join(sorted(top.path for top in tops.values()))
        raise NoBootPartitionError(
            f"{paths} have the same partition UUID {partition}, so it cannot be told which one the "
            "boot loader came from",
            hint="Detach the copy, or give it another UUID (sgdisk --partition-guid=NUMBER:R).",
        )
    return Path(meant[0].path)


def extended_devices(devices: BlockDevices, esp: BlockDevice) -> list[BlockDevice]:
    """Return the devices to mount for XBOOTLDR partitions of the disk that an ESP is on.

    One whose file system is not there, or that no loader reads, is left out.
    """
    disks = devices.disks(esp)
    beside = [
        device
        for device in devices
        if device.partition_type in XBOOTLDR_TYPES and devices.disks(device) & disks
    ]
    by_name: dict[str, BlockDevice] = {}
    for device in _without_parts(devices, beside):
        try:
            top = _uppermost(devices, device)
        except NoBootPartitionError:
            continue
        by_name[top.name] = top
    return [top for name, top in by_name.items() if name != esp.name]


def _without_parts(devices: BlockDevices, named: list[BlockDevice]) -> list[BlockDevice]:
    """Leave out partitions of disks that the disks of others among them are made of.

    What a multipath device, or an array of whole disks, is made of shows its partitions too.
    """
    covered = {
        name
        for device in named
        for parent in devices.parents(device)
        for name in devices.below(parent)
    }
    return [device for device in named if not device.parents & covered]


def _uppermost(devices: BlockDevices, device: BlockDevice) -> BlockDevice:
    """Return what holds the file system: the device, or what was made of it in the end."""
    for disk in [] if device.is_composed else devices.parents(device):
        for larger in devices.composed_of(disk):
            raise NoBootPartitionError(
                f"{device.path} is on {disk.path}, which is a part of {larger.path}, and that has "
                "no such partition",
                hint=f"'partx --add {larger.path}' or 'kpartx -a {larger.path}' makes them appear.",
            )
        _refuse_members(disk, f"{device.path} is on {disk.path}, which")
    for _ in range(_MAX_LAYERS):
        above = devices.composed_of(device)
        if not above:
            break
        if len(above) > 1:
            paths = " and ".join(one.path for one in above)
            raise NoBootPartitionError(f"{device.path} is a part of {paths}, and not of one alone")
        [larger] = above
        if larger.kind in _OPAQUE:
            raise NoBootPartitionError(
                f"{larger.path} on {device.path} is {_OPAQUE[larger.kind]}, which no firmware reads"
            )
        device = larger
    _refuse_members(device, device.path)
    if device.content in _NO_FILE_SYSTEM:
        raise NoBootPartitionError(f"{device.path} holds {device.content}, which is no file system")
    return device


def _refuse_members(device: BlockDevice, subject: str) -> None:
    if device.content.endswith(_RAID_MEMBER):
        raise NoBootPartitionError(
            f"{subject} is a member of a RAID array that is not assembled",
            hint="'mdadm --assemble --scan' assembles it; a member must not be written alone.",
        )
    if device.content == _PATH_MEMBER:
        raise NoBootPartitionError(
            f"{subject} is a path of a multipath device that is not set up",
            hint="Start multipathd.service; a path must not be written alone.",
        )
