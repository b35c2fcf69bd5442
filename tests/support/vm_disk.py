"""The disk of a machine that was just installed with ``bootctl-py install to-disk``."""

from __future__ import annotations

import os
from pathlib import Path

from bootd.operations.install import install_to_disk
from bootd.operations.install_settings import Settings
from bootd.operations.progress import Silent
from support.cache import cached_folder, digest_of
from support.vm_image import vm_image

DISK_BYTES = 6 << 30


def installed_disk() -> Path:
    """A raw disk image with ``v1`` on it, built on first use and then kept; not to be written to.

    Raises:
        BootdError: the installation failed.
    """
    digest = digest_of(vm_image().parent.name, str(DISK_BYTES), Path(__file__))
    return cached_folder("vm-disk", digest, _install) / "disk.raw"


def _install(folder: Path) -> None:
    disk = folder / "disk.raw"
    disk.touch()
    os.truncate(disk, DISK_BYTES)
    settings = Settings(image=f"oci:{vm_image()}:v1", follow="10.0.2.2:5000/os:latest")
    install_to_disk(disk, settings, Silent())
