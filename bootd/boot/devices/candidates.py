"""Which partitions of a live host can be its ``$BOOT``.

systemd-boot, or a unified kernel that the firmware started itself, leaves the partition UUID it
came from in an EFI variable. What it reads boot entries from is that ESP and an XBOOTLDR partition
of the same disk (UAPI.1, "The $BOOT Partition Placeholder"). Where it says so, no other partition
can be ``$BOOT``, whatever is mounted or configured; where it does not, what is mounted or
configured may be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bootd.boot.devices.arrays import BootArray, array_of
from bootd.boot.devices.block_devices import COLUMNS, BlockDevice, BlockDevices
from bootd.boot.devices.loader_devices import boot_device, extended_devices
from bootd.boot.devices.mounts import automounted_at, device_number, mount_of
from bootd.boot.loader.efi_variables import read_variable
from bootd.model.errors import BootdError, NoBootPartitionError
from bootd.process import run
from bootd.sysroot import Sysroot

LOADER_PARTITIONS: Final = ("LoaderDevicePartUUID", "StubDevicePartUUID")
"""The variables in which a boot loader, or systemd-stub, leaves where it was started from."""
USUAL_MOUNT_POINTS: Final = ("boot", "efi", "boot/efi")

_UUID: Final = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8}-[0-9a-f]{2}", re.ASCII
)
"""Of a partition in a GPT, or in a DOS partition table."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where ``$BOOT`` may be.

    Attributes:
        name: for people.
        path: a folder, or a device to mount.
        number: major and minor number of its device; None: a folder on which nothing is mounted.
        remarks: what is wrong with it though it can be used, a sentence each.
        array: the RAID1 array that it is on, of which the loader saw one half.
    """

    name: str
    path: Path
    number: str | None = None
    remarks: tuple[str, ...] = ()
    array: BootArray | None = None


@dataclass(slots=True)
class Candidates:
    """What was looked at.

    Attributes:
        places: where ``$BOOT`` may be, the likeliest first.
        reasons: why other places cannot be it, a sentence each.
        remarks: what is to be told even if it is known in the end.
        hint: what to do if it is not.
    """

    places: list[Place] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    hint: str | None = None


def candidates(sysroot: Sysroot, configured: Path | None, root: Path) -> Candidates:
    """Return where ``$BOOT`` may be; what is in the way of knowing that is among the reasons.

    Args:
        sysroot: the machine.
        configured: ``boot_partition`` of the configuration.
        root: where ``/boot``, ``/sys`` and the like are looked up.
    """
    looked_at = Candidates()
    partition = None
    try:
        partition = loader_partition(sysroot)
    except NoBootPartitionError as error:
        looked_at.remarks.append(error.message)
    # Where the loader says which partition it is, nobody has to walk into an automount.
    enter = partition is None
    chosen = [] if configured is None else _configured(looked_at, configured, enter=enter)
    usual = list(_mounted(looked_at, root, enter=enter))
    if partition is not None:
        try:
            read = _read_by_loader(sysroot, partition, root)
        except BootdError as error:
            read = []
            looked_at.reasons.append(error.message)
            looked_at.hint = error.hint
        looked_at.remarks += _not_read(chosen, read)
        looked_at.reasons += _not_read(usual, read)
        wanted = {place.number for place in chosen}
        looked_at.places = sorted(read, key=lambda place: place.number not in wanted)
        return looked_at
    looked_at.places = [*chosen, *usual]
    if not looked_at.places:
        looked_at.reasons.append(
            "there is no loader/entries under /boot, /efi or /boot/efi, and the boot loader does "
            "not say which partition it came from"
        )
    return looked_at


def loader_partition(sysroot: Sysroot) -> str | None:
    """Return the partition UUID the boot loader was started from, lower case, or None.

    Raises:
        NoBootPartitionError: what the variables hold is no UUID.
    """
    texts = {name: read_variable(sysroot, name) for name in LOADER_PARTITIONS}
    known = {name: text.lower() for name, text in texts.items() if text is not None}
    for text in known.values():
        if _UUID.fullmatch(text):
            return text
    for name, text in known.items():
        raise NoBootPartitionError(
            f"the EFI variable {name} holds {text[:100]!r}, which is no partition UUID"
        )
    return None


def _not_read(places: list[Place], read: list[Place]) -> list[str]:
    numbers = {place.number for place in read}
    return [
        f"{place.name} is a folder with nothing mounted on it"
        if place.number is None
        else f"{place.name} is another partition than the boot loader reads"
        for place in places
        if place.number not in numbers
    ]


def _read_by_loader(sysroot: Sysroot, partition: str, root: Path) -> list[Place]:
    """Return the ESP and the XBOOTLDR partitions, as devices to mount."""
    listing = run(["lsblk", "--json", "--output", ",".join(COLUMNS)]).stdout
    devices = BlockDevices(listing)
    path = boot_device(listing, partition, _root_disks(devices, sysroot, root))
    esp = next(device for device in devices if device.path == str(path))
    return [
        Place(
            name=device.path,
            path=Path(device.path),
            number=device.number,
            remarks=_degraded(devices, device, root),
            array=array_of(devices, device, partition, root),
        )
        for device in (esp, *extended_devices(devices, esp))
    ]


def _root_disks(devices: BlockDevices, sysroot: Sysroot, root: Path) -> frozenset[str]:
    """Return the names of the disks that the physical root is on."""
    mount = mount_of(sysroot.physical)
    mounted = next((one for one in devices if mount and one.number == mount.number), None)
    if mounted is None:
        return frozenset()
    # A Btrfs may be on several devices, of which a mount names one.
    members = root / "sys/fs/btrfs" / mounted.file_system / "devices"
    others = members.iterdir() if mounted.content == "btrfs" and members.is_dir() else ()
    parts = devices.named({mounted.name, *(path.name for path in others)})
    return frozenset(name for part in parts for name in devices.disks(part))


def _degraded(devices: BlockDevices, device: BlockDevice, root: Path) -> tuple[str, ...]:
    remarks = []
    for name in sorted({device.name, *devices.below(device)}):
        try:
            missing = (root / "sys/class/block" / name / "md/degraded").read_text().strip()
        except OSError:
            continue
        if missing not in ("", "0"):
            remarks.append(f"the RAID array {name} that the boot partition is on is degraded")
    return tuple(remarks)


def _configured(looked_at: Candidates, path: Path, *, enter: bool) -> list[Place]:
    name = f"{path}, which boot_partition names,"
    if not enter and (there := automounted_at(path)) is not None:
        return [Place(name, path, one.number) for one in there[-1:]]
    if not path.exists():
        looked_at.remarks.append(f"{name} does not exist")
        return []
    if path.is_dir():
        return _folder(looked_at, name, path)
    if path.is_block_device():
        return [Place(name, path, device_number(path))]
    looked_at.remarks.append(f"{name} is neither a folder nor a block device")
    return []


def _mounted(looked_at: Candidates, root: Path, *, enter: bool) -> Iterator[Place]:
    for path in (root / name for name in USUAL_MOUNT_POINTS):
        if not enter and (there := automounted_at(path)) is not None:
            yield from (Place(str(path), path, one.number) for one in there[-1:])
            continue
        for place in _folder(looked_at, str(path), path) if path.is_dir() else ():
            # An empty folder that nothing is mounted on is none of the places people would mean.
            if place.number is not None or (path / "loader/entries").is_dir():
                yield place


def _folder(looked_at: Candidates, name: str, path: Path) -> list[Place]:
    try:
        # An automount is mounted by this, or fails.
        next(path.iterdir(), None)
        mount = mount_of(path)
        is_own = mount is not None and mount.point == path.resolve()
    except (BootdError, OSError) as error:
        looked_at.reasons.append(f"{name} cannot be read: {error}")
        return []
    return [Place(name, path, mount.number if mount is not None and is_own else None)]
