"""Kernels on ``$BOOT``: the copies that boot entries name.

A kernel and its initramfs lie together in a folder of their own
(`bootd.boot.kernels.kernel_folders`). Invariants: a file that is whole is never written again; a
folder is complete and durable before `install_kernel` returns.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from bootd.boot.entry import DEVICETREE_NAME, INITRAMFS_NAME, KERNEL_NAME
from bootd.boot.kernels.image_kernel import KernelFound
from bootd.boot.kernels.kernel_folders import kernel_folder
from bootd.boot.mirrors import mirrors_first
from bootd.boot.places import leftovers
from bootd.boot.usage import allocated, measure_room
from bootd.durable import storage_errors
from bootd.model.deployment import KernelFiles
from bootd.model.errors import BootPartitionFullError, DamagedObjectError, NoSpaceError
from bootd.model.tree import RegularFile
from bootd.sysroot import Sysroot

_RESERVE: Final = 256 << 10
"""Bytes left on ``$BOOT`` for the entry, its folder and what the file system needs itself."""
_ENTRY: Final = 8 << 10
"""More than a boot entry has."""
_CHUNK: Final = 1 << 20


def kernel_files(found: KernelFound, devicetree: RegularFile | None = None) -> KernelFiles:
    """Return what a deployment's record says about its kernel.

    Args:
        found: the kernel.
        devicetree: what describes the board to it, if it does not do so itself; it has an object.
    """
    kernel, initramfs = found.kernel.verity, found.initramfs.verity
    assert kernel is not None
    assert initramfs is not None
    described = b"" if devicetree is None else devicetree.verity
    assert described is not None
    return KernelFiles(
        version=found.version,
        kernel_object=kernel.hex(),
        initramfs_object=initramfs.hex(),
        kernel_size=found.kernel.size,
        initramfs_size=found.initramfs.size,
        devicetree_object=described.hex() or None,
        devicetree_size=0 if devicetree is None else devicetree.size,
        digest=hashlib.sha256(kernel + initramfs + described).hexdigest(),
    )


def needed_boot_space(sysroot: Sysroot, files: KernelFiles) -> int:
    """Return the bytes that installing a kernel will take on ``$BOOT``; 0 when it is there."""
    room = measure_room(sysroot)
    folder = kernel_folder(sysroot, files.digest)
    # Where a copy is damaged the new one may take its place.
    missing = [
        max(0, room.taken_by(size) - allocated(folder / name))
        for name, (_, size) in _contents(files)
        if _size(folder / name) != size
    ]
    return sum(missing) + _RESERVE if missing else 0


def needed_entry_space(sysroot: Sysroot) -> int:
    """Return the bytes that a boot entry may take on ``$BOOT``, and the growth of its folder."""
    room = measure_room(sysroot)
    return room.taken_by(_ENTRY) + room.cluster


def check_boot_space(sysroot: Sysroot, files: KernelFiles) -> None:
    """Refuse a kernel that would not fit, before anything is written.

    Raises:
        BootPartitionFullError: with the numbers.
    """
    needed, room = needed_boot_space(sysroot, files), measure_room(sysroot)
    left = sum(map(allocated, leftovers(kernel_folder(sysroot, files.digest))))
    if needed > room.free + left:
        raise BootPartitionFullError(
            f"kernel {files.version} needs {mebibytes(needed)} on the boot partition; "
            f"{mebibytes(room.free)} of {mebibytes(room.size)} are free"
        )


@mirrors_first
def install_kernel(sysroot: Sysroot, files: KernelFiles, folder: Path | None = None) -> Path:
    """Copy a kernel's files from the store to ``$BOOT``, durably; what is whole stays.

    Args:
        sysroot: the machine.
        files: the kernel.
        folder: where on ``$BOOT`` an entry expects it; None: where the next entry would.

    Returns:
        The folder on ``$BOOT``.

    Raises:
        BootPartitionFullError: it does not fit; nothing that boots was touched.
        DamagedObjectError: an object is missing or has another size.
        WriteFailedError: the kernel refused.
    """
    folder = folder or kernel_folder(sysroot, files.digest)
    sources = [(name, _object(sysroot, *content)) for name, content in _contents(files)]
    check_boot_space(sysroot, files)
    sysroot.disk.make_directory(folder, 0o755)
    for leftover in leftovers(folder):
        # On a small $BOOT the next copy needs the room.
        sysroot.disk.remove_file(leftover)
    for name, source in sources:
        if not _same_content(source, folder / name):
            _copy(sysroot, source, folder / name)
    # The folder itself, and bootd/ above it, may be as new as the files are. What was copied before
    # may not be durable yet either: VFAT notes where a renamed file's content is only then.
    sysroot.disk.sync_filesystem(sysroot.boot)
    return folder


def _copy(sysroot: Sysroot, source: Path, target: Path) -> None:
    if allocated(target) and measure_room(sysroot).free < source.stat().st_size:
        # It is not what the image has, so it boots nothing, and there is no room for both.
        sysroot.disk.remove_file(target)
    try:
        sysroot.disk.copy_file(source, target, 0o644)
    except NoSpaceError as error:
        raise BootPartitionFullError(error.message) from error


def kernel_damage(
    sysroot: Sysroot, files: KernelFiles, folder: Path | None = None, *, compare: bool = True
) -> str | None:
    """Say what is wrong with a kernel's copy on ``$BOOT``, or None.

    Args:
        sysroot: the machine.
        files: the kernel.
        folder: where on ``$BOOT`` an entry expects it; None: where the next entry would.
        compare: compare every byte with the store; otherwise only sizes are looked at.
    """
    folder = folder or kernel_folder(sysroot, files.digest)
    for name, (digest, size) in _contents(files):
        copy, original = folder / name, _object_path(sysroot, digest)
        found = _size(copy)
        if found is None:
            return f"{copy} is missing"
        if found != size:
            return f"{copy} has {found} bytes and not {size}"
        if compare and _size(original) == size and not _same_content(original, copy):
            return f"{copy} is not what the image has"
    return None


def kernel_copies(files: KernelFiles, folder: Path) -> list[tuple[Path, str]]:
    """Return the files of a kernel in a folder on ``$BOOT``, each with the name of its object."""
    return [(folder / name, digest) for name, (digest, _) in _contents(files)]


def _contents(files: KernelFiles) -> list[tuple[str, tuple[str, int]]]:
    """Return the name on ``$BOOT``, the object and the size of each file."""
    contents = [
        (KERNEL_NAME, (files.kernel_object, files.kernel_size)),
        (INITRAMFS_NAME, (files.initramfs_object, files.initramfs_size)),
    ]
    if files.devicetree_object is not None:
        contents.append((DEVICETREE_NAME, (files.devicetree_object, files.devicetree_size)))
    return contents


def _object_path(sysroot: Sysroot, name: str) -> Path:
    return sysroot.objects / name[:2] / name[2:]


def _object(sysroot: Sysroot, name: str, size: int) -> Path:
    path = _object_path(sysroot, name)
    found = _size(path)
    if found != size:
        problem = "is missing" if found is None else f"has {found} bytes and not {size}"
        raise DamagedObjectError(f"object {name} of a kernel {problem}")
    return path


def _size(path: Path) -> int | None:
    with storage_errors("look at", path):
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None


def _same_content(first: Path, second: Path) -> bool:
    """Compare byte by byte: after a power cut on VFAT a right size alone proves nothing."""
    if _size(first) != _size(second):
        return False
    with (
        storage_errors("compare", second),
        first.open("rb", buffering=0) as one,
        second.open("rb", buffering=0) as other,
    ):
        while chunk := one.read(_CHUNK):
            if other.read(_CHUNK) != chunk:
                return False
    return True


def mebibytes(size: int) -> str:
    """Return a size as it is told of ``$BOOT``."""
    return f"{size / (1 << 20):.1f} MiB"
