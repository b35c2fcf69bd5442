"""Mounts a composed tree read-only, as an initramfs does at boot.

EROFS holds the metadata; overlayfs takes the contents from the objects, which are a data-only lower
layer. Source: Linux, Documentation/filesystems/overlayfs.rst, "Data-only lower layers" (6.6).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bootd.model.errors import InvalidArgumentError, KernelTooOldError
from bootd.process import run

MINIMUM_KERNEL: Final = (6, 6)
_RELEASE: Final = re.compile(r"([0-9]+)\.([0-9]+)")
_SPECIAL: Final = re.compile(r"[\\:,]")


def check_kernel(release: str | None = None) -> None:
    """Refuse a kernel without data-only lower layers.

    Args:
        release: as ``uname -r`` prints it; None asks the running kernel.

    Raises:
        KernelTooOldError: it is older than 6.6.
    """
    release = os.uname().release if release is None else release
    match = _RELEASE.match(release)
    if match is None or (int(match[1]), int(match[2])) < MINIMUM_KERNEL:
        raise KernelTooOldError(f"this kernel is {release[:100]}, older than 6.6")


@contextmanager
def mounted_tree(erofs: Path, objects: Path, folder: Path) -> Iterator[Path]:
    """Mount a tree for as long as the context lasts, and yield where.

    Args:
        erofs: the EROFS image.
        objects: the store's objects.
        folder: an existing folder to make the mount points in.

    Raises:
        KernelTooOldError: the kernel cannot.
        InvalidArgumentError: a path has a character that mount options cannot hold.
        ProcessFailedError: mount(8) failed; it needs root.
    """
    check_kernel()
    metadata, root = folder / "metadata", folder / "root"
    for path in (metadata, objects):
        if _SPECIAL.search(str(path)):
            raise InvalidArgumentError(f"{path} cannot be named in mount options")
    metadata.mkdir(exist_ok=True)
    root.mkdir(exist_ok=True)
    with (
        _mounted("erofs", str(erofs), metadata, "ro,loop"),
        _mounted(
            "overlay",
            "bootd",
            root,
            f"ro,metacopy=on,redirect_dir=on,lowerdir={metadata}::{objects}",
        ),
    ):
        yield root


@contextmanager
def _mounted(kind: str, source: str, target: Path, options: str) -> Iterator[None]:
    run(["mount", "-t", kind, "-o", options, "--", source, target])
    try:
        yield
    finally:
        run(["umount", "--", target])
