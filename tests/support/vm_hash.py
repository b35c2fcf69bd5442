"""A machine whose store names what it holds by SHA-512."""

from __future__ import annotations

import os
from pathlib import Path

from bootd.model.hash_algorithm import SHA512
from bootd.operations.install import install_to_disk
from bootd.operations.install_settings import Settings
from bootd.operations.progress import Silent
from support.cache import cached_folder, digest_of
from support.vm import Saved
from support.vm_disk import FOLLOWED
from support.vm_versions import vm_versions

_DISK_BYTES = 6 << 30


def installed_with_sha512() -> Saved:
    """A disk with ``v1``, installed with ``--store-hash sha512`` and never started yet."""
    digest = digest_of(vm_versions().parent.name, Path(__file__))
    return Saved(cached_folder("vm-disk-sha512", digest, _install) / "disk.raw")


def _install(folder: Path) -> None:
    disk = folder / "disk.raw"
    disk.touch()
    os.truncate(disk, _DISK_BYTES)
    settings = Settings(image=f"oci:{vm_versions()}:v1", follow=FOLLOWED, store_hash=SHA512.name)
    install_to_disk(disk, settings, Silent())
