"""The firmware of this machine, and its own list of what it starts, through efibootmgr(8).

Firmware that knows of no entry starts ``EFI/BOOT`` of some disk, often not this one, and where
another system has an entry it goes on starting that. So a machine that is installed here gets one.

Sources: UEFI 2.10, section 3.1, "Firmware Boot Manager"; efibootmgr(8). Up to version 17 it prints
device paths with ``-v`` only; from 18 on that adds lines in between, and with efivar 39 the path of
a file is no longer inside ``File()``. All of them have the partition's UUID and the path in the
line of the entry, behind a tab.
"""

from __future__ import annotations

import logging
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.boot.devices.block_device import DiskPartition
from bootd.model.documents import FirmwareEntry
from bootd.model.errors import NoFirmwareError, ProcessFailedError
from bootd.process import run

_log = logging.getLogger(__name__)

LABEL: Final = "bootd"
_ENTRY: Final = re.compile(r"Boot([0-9A-F]{4})(\*?)\s(.*)", re.ASCII | re.IGNORECASE)
_ORDER: Final = re.compile(r"BootOrder: ([0-9A-F]{4}(?:,[0-9A-F]{4})*)", re.ASCII | re.IGNORECASE)
WIDTHS: Final = {"x86_64": "64", "aarch64": "64", "riscv64": "64"}
"""The architectures whose loaders bootd knows, and how wide their EFI firmware has to be."""


@dataclass(frozen=True, slots=True)
class Firmware:
    """A machine's EFI firmware, as its kernel shows it.

    Attributes:
        folder: where; it is absent on a machine that was not started by EFI firmware.
    """

    folder: Path = Path("/sys/firmware/efi")

    def require(self, architecture: str) -> None:
        """Refuse a machine whose firmware cannot start a loader of an architecture.

        Raises:
            NoFirmwareError: it was started by a BIOS, or by EFI firmware of another width.
        """
        if not self.folder.is_dir():
            raise NoFirmwareError(
                f"this machine was not started by EFI firmware ({self.folder} is absent), and "
                "bootd has no boot loader for any other"
            )
        size = self.folder / "fw_platform_size"
        width = size.read_text().strip() if size.is_file() else WIDTHS[architecture]
        if width != WIDTHS[architecture]:
            raise NoFirmwareError(
                f"this machine's EFI firmware is {width}-bit; it starts no {architecture} loader"
            )

    def enter(self, partition: DiskPartition, loader: str) -> FirmwareEntry:
        """Let the firmware start a loader first; an entry for it that is there already is used.

        Whatever keeps that from being done is told in what is returned: the machine is installed
        all the same.

        Args:
            partition: the EFI system partition.
            loader: the loader's path on it, with slashes.
        """
        path = "\\" + loader.replace("/", "\\").lstrip("\\")
        where = ["--disk", str(partition.disk), "--part", str(partition.number)]
        create = ["efibootmgr", "--create", *where, "--loader", path, "--label", LABEL]
        number, problem = None, None
        try:
            number = _existing(partition, path)
            if number is None:
                run(create)
                number = _existing(partition, path)
            if number is None:
                problem = "the firmware did not keep the entry"
        except ProcessFailedError as error:
            problem = error.message
            _log.warning("the firmware has no entry for %s: %s", path, problem)
        return FirmwareEntry(
            label=LABEL,
            number=number,
            partition=partition.uuid,
            loader=path,
            problem=problem,
            command=shlex.join(create),
        )


def _existing(partition: DiskPartition, loader: str) -> str | None:
    """Return the number of the entry for a loader, the first and active from here on, or None."""
    lines = run(["efibootmgr", "-v"]).stdout.decode(errors="replace").splitlines()
    for match in filter(None, map(_ENTRY.match, lines)):
        number, active, rest = match[1].upper(), match[2], match[3].rpartition("\t")[2].lower()
        if _device_path(partition) in rest and loader.lower() in rest:
            break
    else:
        return None
    if not active:
        run(["efibootmgr", "--quiet", "--bootnum", number, "--active"])
    orders = [match[1].upper().split(",") for match in map(_ORDER.match, lines) if match]
    order = orders[0] if orders else []
    if order[:1] != [number]:
        first = [number, *(one for one in order if one != number)]
        run(["efibootmgr", "--quiet", "--bootorder", ",".join(first)])
    return number


def _device_path(partition: DiskPartition) -> str:
    """Return what stands for a partition in a device path, lower case."""
    signature, _, number = partition.uuid.partition("-")
    if "-" in number:
        return f",gpt,{partition.uuid},"
    # The disk's signature is the name of a partition in an MBR.
    return f"hd({partition.number},mbr,{int(signature or '0', 16):#x},"
