"""A machine with two EFI system partitions on one disk, alike, both of which bootd keeps.

It runs ``v1``, for good, and is switched off. `BOTH` is the setting that names them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

from bootd.boot.devices.block_device import ESP_TYPE
from bootd.operations.installing import disk_device as devices
from bootd.operations.installing.disk_layout import ESP_BYTES, ESP_NUMBER
from bootd.process import run
from support.cache import cached_folder, digest_of
from support.vm import Saved
from support.vm_disk import running_machine
from support.vm_power import partition

SECOND_ESP_NUMBER = 3
BOTH = 'boot_partitions = ["/dev/disk/by-partlabel/esp", "/dev/disk/by-partlabel/esp-2"]'
_COPY_SECONDS = 300.0
_TABLES = 2 << 20


@cache
def two_esps() -> Saved:
    """The machine, built on first use and then kept in the cache.

    Raises:
        ProcessFailedError: a tool is missing or failed.
    """
    digest = digest_of(running_machine().disk.parent.name, Path(__file__))
    disk = cached_folder("vm-two-esps", digest, _build) / "disk.raw"
    return replace(running_machine(), disk=disk, memory=None)


def _build(folder: Path) -> None:
    disk, contents = folder / "disk.raw", folder / "contents"
    convert = ("qemu-img", "convert", "-O", "raw", running_machine().disk, disk)
    run(convert, timeout=_COPY_SECONDS)
    os.truncate(disk, disk.stat().st_size + ESP_BYTES + _TABLES)
    one = f"size={ESP_BYTES >> 20}MiB, type={ESP_TYPE}, name=esp-2\n"
    run(["sfdisk", "--quiet", "--append", disk], stdin=one.encode())
    contents.mkdir()
    with partition(disk, ESP_NUMBER) as esp:
        run(["mcopy", "-s", "-Q", "-n", "-i", esp, "::/", contents], timeout=_COPY_SECONDS)
    with partition(disk, SECOND_ESP_NUMBER) as esp:
        devices.make_esp(esp, ESP_BYTES, contents)
    run(["rm", "-rf", contents])
