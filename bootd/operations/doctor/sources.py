"""Where ``doctor`` gets its facts from; nothing is judged here, and nothing is changed.

Sources: UEFI 2.10, section 3.3, for the variable ``SecureBoot``; "The Boot Loader Interface" of
systemd, for ``LoaderInfo``; lsblk(8), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Final

from bootd.boot.devices.block_device import ESP_TYPE
from bootd.boot.devices.block_devices import COLUMNS, BlockDevices
from bootd.boot.devices.loader_devices import XBOOTLDR_TYPES
from bootd.boot.devices.mounts import Mount, mount_of, mounts
from bootd.boot.loader.efi_variables import read_variable
from bootd.model.errors import BootdError
from bootd.operations.doctor.facts import (
    BootPartitionFacts,
    MachineFacts,
    RootFacts,
    UpdateFacts,
)
from bootd.operations.host import Host, with_boot
from bootd.operations.status import status
from bootd.process import run

_log = logging.getLogger(__name__)

_SECURE_BOOT: Final = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_ATTRIBUTES: Final = 4
_FIRMWARE: Final = Path("/sys/firmware/efi")
_GRUB: Final = ("grub", "grub2")
_SYSTEMD_VERSION: Final = re.compile(rb"systemd ([0-9]{1,6})\b", re.ASCII)
_INITIAL: Final = Path("/proc/1/comm")
_COMMAND_SECONDS: Final = 10.0
_MAX_WIDTH: Final = 16
_MAX_TEXT: Final = 200
_AUTOMOUNT: Final = "autofs"
_BOOT_TYPES: Final = (ESP_TYPE, "0xef", *XBOOTLDR_TYPES)


def gather(host: Host) -> MachineFacts:
    """Return what can be found out about the running machine."""
    devices = _devices()
    store = host.sysroot.store.is_dir()
    root = Path(host.sysroot.physical) if store else Path("/")
    return MachineFacts(
        architecture=os.uname().machine,
        kernel=os.uname().release,
        systemd=_systemd(),
        efi=_FIRMWARE.is_dir(),
        efi_width=_read(_FIRMWARE / "fw_platform_size", _MAX_WIDTH).decode("ascii", "replace"),
        secure_boot=_secure_boot(host.sysroot.efi_variables),
        loader=(read_variable(host.sysroot, "LoaderInfo") or "")[:_MAX_TEXT],
        grub=any((Path("/boot") / name).is_dir() for name in _GRUB),
        boot_partitions=None if devices is None else _boot_partitions(devices),
        root=_root(devices, root),
        updates=_updates(host) if store else None,
    )


def _devices() -> BlockDevices | None:
    command = ["lsblk", "--json", "--output", ",".join(COLUMNS)]
    try:
        return BlockDevices(run(command, timeout=_COMMAND_SECONDS).stdout)
    except BootdError as error:
        _log.debug("the disks are not known: %s", error.message)
        return None


def _boot_partitions(devices: BlockDevices) -> tuple[BootPartitionFacts, ...]:
    mounted = {one.number: one for one in _mounts() if one.kind != _AUTOMOUNT}
    found = []
    for device in devices:
        if device.partition_type not in _BOOT_TYPES:
            continue
        # What the kernel made of it, an array say, is mounted in its place.
        above = (device, *devices.composed_of(device))
        mount = next((mounted[one.number] for one in above if one.number in mounted), None)
        found.append(_boot_partition(device.path, mount))
    return tuple(found)


def _boot_partition(device: str, mount: Mount | None) -> BootPartitionFacts:
    if mount is None:
        return BootPartitionFacts(device)
    room = _room(mount.point)
    point = str(mount.point)
    return BootPartitionFacts(device, point) if room is None else _measured(device, point, room)


def _measured(device: str, point: str, room: os.statvfs_result) -> BootPartitionFacts:
    size, free = room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize
    return BootPartitionFacts(device, point, size, free)


def _root(devices: BlockDevices | None, path: Path) -> RootFacts | None:
    try:
        mount = mount_of(path)
    except BootdError as error:
        _log.debug("the root is not known: %s", error.message)
        return None
    room = _room(path)
    if devices is None or mount is None or room is None:
        return None
    device = next((one for one in devices if one.number == mount.number), None)
    if device is None:
        return None
    below = devices.named(devices.below(device))
    layers = frozenset(one.kind for one in (device, *below) if one.kind)
    return RootFacts(device.path, mount.kind, layers, room.f_bavail * room.f_frsize)


def _updates(host: Host) -> UpdateFacts:
    automatic = host.configuration.automatic.value
    try:
        with with_boot(host) as machine:
            found = status(machine)
    except BootdError as error:
        return UpdateFacts(None, automatic, problems=(error.message,))
    return UpdateFacts(
        image=found.image,
        automatic=automatic,
        held_by=found.held_by,
        staged=found.reboot_required,
        problems=tuple(found.problems),
    )


def _systemd() -> int | None:
    if _read(_INITIAL, _MAX_WIDTH) != b"systemd":
        return None
    try:
        said = run(["systemctl", "--version"], timeout=_COMMAND_SECONDS).stdout
    except BootdError as error:
        _log.debug("the version of systemd is not known: %s", error.message)
        return None
    match = _SYSTEMD_VERSION.match(said)
    return None if match is None else int(match[1])


def _secure_boot(variables: Path) -> bool | None:
    data = _read(variables / _SECURE_BOOT, _ATTRIBUTES + 1, strip=False)
    return data[_ATTRIBUTES] == 1 if len(data) > _ATTRIBUTES else None


def _read(path: Path, limit: int, *, strip: bool = True) -> bytes:
    """Return the beginning of a file of the kernel's; nothing where it cannot be read."""
    try:
        with path.open("rb") as stream:
            data = stream.read(limit)
    except OSError:
        return b""
    return data.strip() if strip else data


def _room(path: Path) -> os.statvfs_result | None:
    try:
        return os.statvfs(path)
    except OSError as error:
        _log.debug("what %s has free is not known: %s", path, error.strerror)
        return None


def _mounts() -> list[Mount]:
    try:
        return mounts()
    except BootdError as error:
        _log.debug("what is mounted is not known: %s", error.message)
        return []
