"""Two systems of bootd on two disks: the second one's kernels and entries are on the first disk.

Both were installed and never started. The second one's host name is `SECOND`; the first one has
none of its own.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from bootd.model.config import Configuration
from bootd.operations.host import Host
from bootd.operations.install import install
from bootd.operations.install_settings import Settings
from bootd.operations.installing import disk_device as devices
from bootd.operations.installing.disk_layout import ESP_BYTES, ESP_NUMBER, ROOT_TYPES
from bootd.operations.installing.target import RootFileSystem
from bootd.operations.progress import Silent
from bootd.process import run
from bootd.registry.settings import RegistrySettings
from bootd.sysroot import Sysroot
from support.cache import cached_folder, digest_of
from support.vm import Saved
from support.vm_disk import FOLLOWED, installed_machine
from support.vm_power import partition
from support.vm_versions import vm_versions

SECOND = "second"
_DISK_BYTES = 6 << 30
_FILESYSTEM = "ext4"
_COPY_SECONDS = 300.0


@cache
def neighbours() -> Saved:
    """Both disks, built on first use and then kept in the cache.

    Raises:
        BootdError: the second installation failed.
    """
    digest = digest_of(installed_machine().disk.parent.name, Path(__file__))
    folder = cached_folder("vm-neighbours", digest, _build)
    return Saved(folder / "first.raw", more=(folder / "second.raw",))


def _build(folder: Path) -> None:
    first, second = folder / "first.raw", folder / "second.raw"
    run(["cp", "--sparse=always", installed_machine().disk, first], timeout=_COPY_SECONDS)
    second.touch()
    os.truncate(second, _DISK_BYTES)
    table = f"label: gpt\ntype={ROOT_TYPES[platform.machine()]}\n"
    run(["sfdisk", "--quiet", second], stdin=table.encode())
    # Not every kernel can mount an EFI system partition.
    boot, root = folder / "boot", folder / "root"
    boot.mkdir()
    root.mkdir()
    with partition(first, ESP_NUMBER) as esp, partition(second, 1) as device:
        run(["mcopy", "-s", "-Q", "-n", "-i", esp, "::/", boot], timeout=_COPY_SECONDS)
        devices.make_root(device, _FILESYSTEM)
        with devices.mounted(device, _FILESYSTEM, root):
            _install(root, boot, device, folder)
        devices.make_esp(esp, ESP_BYTES, boot)
    for left in (boot, root, folder / "run"):
        run(["rm", "-rf", left])


def _install(root: Path, boot: Path, device: Path, work: Path) -> None:
    nothing = Path(os.devnull)
    sysroot = Sysroot(physical=root, boot=boot, run=work / "run", command_line=nothing)
    uuid = run(["blkid", "--probe", "-s", "UUID", "-o", "value", device]).stdout.decode().strip()
    settings = Settings(image=f"oci:{vm_versions()}:v1", follow=FOLLOWED, hostname=SECOND)
    host = Host(sysroot, Configuration(), RegistrySettings())
    install(host, RootFileSystem(_FILESYSTEM, uuid), settings, Silent())
