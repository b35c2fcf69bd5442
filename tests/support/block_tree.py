"""Disks of a machine in a folder, as sysfs and udev show them, which the real lsblk(8) lists."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bootd.boot.devices.block_devices import COLUMNS

ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
XBOOTLDR_TYPE = "bc13c2ff-59e6-4262-a352-b275fd6f7172"
ROOT_TYPE = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
_DM_UUIDS = {
    "mpath": "mpath-3600508b1001c5e4f",
    "part": "part1-mpath-3600508b1001c5e4f",
    "crypt": "CRYPT-LUKS2-0123456789abcdef-esp",
    "lvm": "LVM-0123456789abcdef",
    "dm": "",
}
"""What device mapper's users put there, from which lsblk tells what a device is."""


class BlockTree:
    """Add what the machine has, then ask for the `listing`.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, str] = {}
        (folder / "dev/mapper").mkdir(parents=True)

    def disk(self, name: str, *, content: str = "", number: str = "") -> None:
        """A disk, or a loop device."""
        self._add(name, self._folder / "sys/devices" / name, number)
        self._udev(name, ID_FS_TYPE=content)

    def part(
        self,
        disk: str,
        name: str,
        uuid: str = "",
        kind: str = ESP_TYPE,
        *,
        content: str = "vfat",
        number: str = "",
    ) -> None:
        """A partition that the kernel found on a disk."""
        folder = self._folder / "sys/devices" / disk / name
        self._add(name, folder, number)
        (folder / "partition").write_text("1\n")
        self._udev(name, ID_PART_ENTRY_UUID=uuid, ID_PART_ENTRY_TYPE=kind, ID_FS_TYPE=content)

    def array(self, name: str, *members: str, content: str = "vfat", number: str = "") -> None:
        """A RAID1 of md that is assembled."""
        folder = self._folder / "sys/devices" / name
        self._add(name, folder, number)
        (folder / "md").mkdir()
        (folder / "md/level").write_text("raid1\n")
        self._hold(name, members)
        self._udev(name, ID_FS_TYPE=content)

    def mapping(
        self, name: str, path: str, kind: str, *below: str, uuid: str = "", content: str = ""
    ) -> None:
        """A device of the device mapper; `path` is its name in ``/dev/mapper``."""
        folder = self._folder / "sys/devices" / name
        self._add(name, folder, "")
        (folder / "dm").mkdir()
        (folder / "dm/name").write_text(f"{path}\n")
        (folder / "dm/uuid").write_text(f"{_DM_UUIDS[kind]}\n")
        (self._folder / "dev/mapper" / path).symlink_to(f"../{name}")
        self._hold(name, below)
        about = {"ID_PART_ENTRY_UUID": uuid, "ID_PART_ENTRY_TYPE": ESP_TYPE} if uuid else {}
        self._udev(name, ID_FS_TYPE=content, **about)

    def listing(self, *columns: str) -> bytes:
        """What lsblk prints."""
        output = ",".join(columns or COLUMNS)
        command = ["lsblk", "--sysroot", str(self._folder), "--json", "--output", output]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def _add(self, name: str, folder: Path, number: str) -> None:
        number = number or f"8:{len(self._names)}"
        self._names[name] = number
        (folder / "holders").mkdir(parents=True)
        (folder / "slaves").mkdir()
        for file, value in {"dev": number, "size": "2048000", "ro": "0", "removable": "0"}.items():
            (folder / file).write_text(f"{value}\n")
        is_part = folder.parent.name != "devices"
        self._link("sys/dev/block", number, folder)
        self._link("sys/class/block", name, folder)
        if not is_part:
            (folder / "queue").mkdir()
            self._link("sys/block", name, folder)

    def _link(self, where: str, name: str, target: Path) -> None:
        place = self._folder / where
        place.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(os.path.relpath(target, place))

    def _hold(self, name: str, below: tuple[str, ...]) -> None:
        places = self._folder / "sys/class/block"
        above = (places / name).resolve()
        for other in below:
            lower = (places / other).resolve()
            self._link(str((lower / "holders").relative_to(self._folder)), name, above)
            self._link(str((above / "slaves").relative_to(self._folder)), other, lower)

    def _udev(self, name: str, **properties: str) -> None:
        lines = [f"{key}={value}\n" for key, value in properties.items() if value]
        (self._folder / "dev" / name).write_text("".join(lines))
