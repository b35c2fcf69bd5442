"""Which objects are needed: the marks of mark and sweep.

An object is needed while a layer index, an image or a deployment refers to it. Deployments count by
their own EROFS image, so that one whose record is damaged keeps its files, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bootd.durable import TEMPORARY_PREFIX
from bootd.store.erofs import ErofsImage
from bootd.store.images.image import EROFS_NAME, all_images, image_path
from bootd.store.layer_index import layer_objects
from bootd.store.layers import all_layers
from bootd.store.objects.files import unneeded_objects
from bootd.sysroot import Sysroot


def referenced_objects(sysroot: Sysroot) -> set[bytes]:
    """Return the digests of all objects that something in the store refers to.

    Raises:
        DamagedRecordError, DamagedImageError, UnknownFormatError: what is needed cannot be known.
    """
    needed: set[bytes] = set()
    for diff_id in all_layers(sysroot):
        needed |= layer_objects(sysroot, diff_id)
    for erofs in erofs_files(sysroot):
        with ErofsImage.open(erofs) as image:
            needed |= image.objects()
    return needed


def erofs_files(sysroot: Sysroot) -> list[Path]:
    """Return the EROFS images in the store, each file once, whatever names it has."""
    folders = [image_path(sysroot, digest) for digest in all_images(sysroot)]
    if sysroot.deployments.is_dir():
        folders += sorted(sysroot.deployments.iterdir())
    files: dict[int, Path] = {}
    for folder in folders:
        path = folder / EROFS_NAME
        if not folder.name.startswith(TEMPORARY_PREFIX) and path.is_file():
            files.setdefault(path.stat().st_ino, path)
    return list(files.values())


def sweep_objects(
    sysroot: Sysroot, needed: set[bytes], report: Callable[[], None] | None = None
) -> tuple[int, int]:
    """Remove every object that is not needed, and the leftovers of imports that were killed.

    Returns:
        How many objects went, and the bytes they held.
    """
    count = size = 0
    for paths in unneeded_objects(sysroot, needed):
        size += sum(os.stat(path).st_size for path in paths)  # noqa: PTH116 - tens of thousands
        sysroot.disk.discard_small_files(paths)
        count += len(paths)
        if report is not None:
            report()
    for folder in (sysroot.objects, *sysroot.objects.iterdir()):
        for path in folder.glob(TEMPORARY_PREFIX + "*") if folder.is_dir() else ():
            sysroot.disk.discard_file(path)
    return count, size
