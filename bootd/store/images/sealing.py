"""Sealing: from now on the kernel guards every file of an image (fs-verity).

What is sealed stays so, and is shared with other images as before. Nothing is synced here: a seal
that a power cut takes away makes the deployment refuse to boot, so the caller has to make the file
system durable before a boot entry demands it.
"""

from __future__ import annotations

from pathlib import Path

from bootd.model.errors import NoVerityError
from bootd.store.erofs import ErofsImage
from bootd.store.objects.files import object_path
from bootd.store.objects.verity import enable_verity
from bootd.sysroot import Sysroot


def seal(sysroot: Sysroot, erofs: Path) -> None:
    """Let the kernel guard an EROFS image and every object it names.

    Raises:
        NoVerityError: the file system or the kernel has no fs-verity.
        DamagedImageError: the EROFS image is damaged.
        WriteFailedError: an object is missing, or the disk failed.
    """
    with ErofsImage.open(erofs) as image:
        objects = [object_path(sysroot, verity) for verity in image.objects()]
    algorithm = sysroot.hash_algorithm()
    for path in (*objects, erofs):
        if not enable_verity(path, algorithm):
            raise NoVerityError(f"the file system of {sysroot.store} has no fs-verity")
