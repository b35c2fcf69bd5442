"""Kernels: the one an image has, and the copies on ``$BOOT`` that boot entries name.

A kernel and its initramfs lie together in ``$BOOT/bootd/<digest>-<installation>/``, shared by all
deployments of one installation with the same pair; `installation` is the beginning of its ID. Older
versions made folders without it, which are used on.

Invariants: a file that is whole is never written again; a folder is complete and durable before
`install_kernel` returns; a folder that any boot entry names, or that belongs to another
installation, is never called unreferenced.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.boot.entry import INITRAMFS_NAME, KERNEL_FOLDER, KERNEL_NAME
from bootd.boot.places import entry_files, leftovers, read_text
from bootd.durable import TEMPORARY_PREFIX, storage_errors
from bootd.model.deployment import KernelFiles
from bootd.model.errors import (
    BootPartitionFullError,
    DamagedObjectError,
    InvalidTreeError,
    NoInitramfsError,
    NoKernelError,
    NoSpaceError,
    SeveralKernelsError,
)
from bootd.model.tree import Directory, Node, RegularFile, lookup
from bootd.sysroot import Sysroot

MODULES: Final = "/usr/lib/modules"
IMAGE_KERNEL: Final = "vmlinuz"
IMAGE_INITRAMFS: Final = ("initramfs.img", "initrd.img")
"""Names looked for beside the kernel; the first that is there is taken."""

_MAX_VERSION: Final = 255
_SHOWN_VERSIONS: Final = 5
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_REFERENCE: Final = re.compile(
    rb"/" + KERNEL_FOLDER.encode() + rb"/([0-9a-f]{64}(?:-[0-9a-f]{8})?)/"
)
_OWNER_DIGITS: Final = 8
"""How much of an installation's ID is in the name of a kernel's folder."""
_RESERVE: Final = 256 << 10
"""Bytes left on ``$BOOT`` for the entry, its folder and what the file system needs itself."""
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class KernelFound:
    """The kernel of an image: `version` is the name of its folder under ``/usr/lib/modules``."""

    version: str
    kernel: RegularFile
    initramfs: RegularFile


def find_kernel(tree: Directory) -> KernelFound:
    """Return the one kernel of an image.

    Raises:
        NoKernelError: no folder under ``/usr/lib/modules`` has a ``vmlinuz``.
        SeveralKernelsError: more than one has.
        NoInitramfsError: there is none beside the kernel.
        InvalidTreeError: the kernel's version is not one a kernel has.
    """
    modules = lookup(tree, MODULES.encode())
    folders = modules.entries if isinstance(modules, Directory) else {}
    kernels = {
        name.decode(errors="replace"): folder
        for name, folder in sorted(folders.items())
        if isinstance(folder, Directory) and IMAGE_KERNEL.encode() in folder.entries
    }
    if not kernels:
        looked_in = f"the {len(folders)} folders of {MODULES}" if folders else MODULES
        raise NoKernelError(
            f"the image has no kernel: there is no {IMAGE_KERNEL} (nor {IMAGE_INITRAMFS[0]} with "
            f"it) in {looked_in}"
        )
    if len(kernels) > 1:
        names = [f"{MODULES}/{version}/{IMAGE_KERNEL}" for version in kernels]
        more = f" and {len(names) - _SHOWN_VERSIONS} more" if len(names) > _SHOWN_VERSIONS else ""
        raise SeveralKernelsError(
            f"the image has {len(names)} kernels: {', '.join(names[:_SHOWN_VERSIONS])}{more}"
        )
    [(version, folder)] = kernels.items()
    if len(version) > _MAX_VERSION or _VERSION.fullmatch(version) is None:
        raise InvalidTreeError(f"{version[:_MAX_VERSION]!r} under {MODULES} is no kernel version")
    kernel = folder.entries[IMAGE_KERNEL.encode()]
    path = f"{MODULES}/{version}"
    if problem := _problem(kernel):
        raise NoKernelError(f"{path}/{IMAGE_KERNEL} {problem}")
    return KernelFound(version, _regular(kernel), _find_initramfs(path, folder))


def kernel_files(found: KernelFound) -> KernelFiles:
    """Return what a deployment's record says about its kernel."""
    kernel, initramfs = found.kernel.verity, found.initramfs.verity
    assert kernel is not None
    assert initramfs is not None
    return KernelFiles(
        version=found.version,
        kernel_object=kernel.hex(),
        initramfs_object=initramfs.hex(),
        kernel_size=found.kernel.size,
        initramfs_size=found.initramfs.size,
        digest=hashlib.sha256(kernel + initramfs).hexdigest(),
    )


def kernel_folder(sysroot: Sysroot, digest: str) -> Path:
    """Return the folder on ``$BOOT`` for a pair of kernel and initramfs, existing or not.

    A folder of an older bootd, which has no installation in its name, is the one where it is there.
    """
    shared = sysroot.boot / KERNEL_FOLDER / digest
    own = shared.with_name(digest + _owner_suffix(sysroot))
    return shared if shared.is_dir() and not own.is_dir() else own


def needed_boot_space(sysroot: Sysroot, files: KernelFiles) -> int:
    """Return the bytes that installing a kernel will take on ``$BOOT``; 0 when it is there."""
    folder = kernel_folder(sysroot, files.digest)
    missing = [size for name, (_, size) in _contents(files) if _size(folder / name) != size]
    return sum(missing) + _RESERVE if missing else 0


def check_boot_space(sysroot: Sysroot, files: KernelFiles, *, assume_missing: bool = False) -> None:
    """Refuse a kernel that would not fit, before anything is written.

    Args:
        sysroot: the machine.
        files: the kernel.
        assume_missing: ask for room for another kernel of this size, be this one there or not.

    Raises:
        BootPartitionFullError: with the numbers.
    """
    whole = files.kernel_size + files.initramfs_size + _RESERVE
    needed = whole if assume_missing else needed_boot_space(sysroot, files)
    if needed == 0:
        return
    with storage_errors("measure", sysroot.boot):
        found = os.statvfs(sysroot.boot)
    free = found.f_bavail * found.f_frsize
    if needed > free:
        raise BootPartitionFullError(
            f"kernel {files.version} needs {_mebibytes(needed)} on the boot partition; "
            f"{_mebibytes(free)} of {_mebibytes(found.f_blocks * found.f_frsize)} are free"
        )


def install_kernel(sysroot: Sysroot, files: KernelFiles) -> Path:
    """Copy a kernel and its initramfs from the store to ``$BOOT``, durably; what is whole stays.

    Returns:
        The folder on ``$BOOT``.

    Raises:
        BootPartitionFullError: it does not fit; nothing that boots was touched.
        DamagedObjectError: an object is missing or has another size.
        WriteFailedError: the kernel refused.
    """
    folder = kernel_folder(sysroot, files.digest)
    sources = [(name, _object(sysroot, *content)) for name, content in _contents(files)]
    check_boot_space(sysroot, files)
    sysroot.disk.make_directory(folder, 0o755)
    for leftover in leftovers(folder):
        # On a small $BOOT the next copy needs the room.
        sysroot.disk.remove_file(leftover)
    for name, source in sources:
        if not _same_content(source, folder / name):
            try:
                sysroot.disk.copy_file(source, folder / name, 0o644)
            except NoSpaceError as error:
                raise BootPartitionFullError(error.message) from error
    # The folder itself, and bootd/ above it, may be as new as the files are. What was copied before
    # may not be durable yet either: VFAT notes where a renamed file's content is only then.
    sysroot.disk.sync_filesystem(sysroot.boot)
    return folder


def kernel_damage(sysroot: Sysroot, files: KernelFiles) -> str | None:
    """Say what is wrong with a kernel's copy on ``$BOOT``, or None; every byte is compared."""
    folder = kernel_folder(sysroot, files.digest)
    for name, (digest, size) in _contents(files):
        copy, original = folder / name, _object_path(sysroot, digest)
        found = _size(copy)
        if found is None:
            return f"{copy} is missing"
        if found != size:
            return f"{copy} has {found} bytes and not {size}"
        if _size(original) == size and not _same_content(original, copy):
            return f"{copy} is not what the image has"
    return None


def unreferenced_kernels(sysroot: Sysroot, keep: Collection[str]) -> list[str]:
    """Return folder names under ``$BOOT/bootd`` that may go, leftovers of a crash included.

    Args:
        sysroot: the machine.
        keep: digests that deployments without an entry need. What an entry in ``loader/entries``
            names, whoever wrote it, stays in any case, and so does what belongs to another
            installation.
    """
    suffix = _owner_suffix(sysroot)
    wanted = {*keep, *(digest + suffix for digest in keep), *_named_by_entries(sysroot)}
    folder = sysroot.boot / KERNEL_FOLDER
    if not folder.is_dir():
        return []
    with storage_errors("read", folder):
        names = sorted(path.name for path in folder.iterdir())
    return [
        name
        for name in names
        if name not in wanted
        and (_DIGEST.fullmatch(name.removesuffix(suffix)) or name.startswith(TEMPORARY_PREFIX))
    ]


def remove_kernel(sysroot: Sysroot, name: str) -> None:
    """Remove a folder that `unreferenced_kernels` returned; a missing one is fine."""
    folder = sysroot.boot / KERNEL_FOLDER / name
    if not folder.is_dir():
        sysroot.disk.remove_file(folder)
        return
    with storage_errors("read", folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        sysroot.disk.remove_file(path)
    sysroot.disk.remove_empty_directory(folder)


def _owner_suffix(sysroot: Sysroot) -> str:
    installation = sysroot.installation()
    return "" if installation is None else f"-{installation[:_OWNER_DIGITS]}"


def _find_initramfs(path: str, folder: Directory) -> RegularFile:
    for name in IMAGE_INITRAMFS:
        node = folder.entries.get(name.encode())
        if node is None:
            continue
        if problem := _problem(node):
            raise NoInitramfsError(f"{path}/{name} {problem}")
        return _regular(node)
    looked_for = " or ".join(IMAGE_INITRAMFS)
    raise NoInitramfsError(f"the image has {path}/{IMAGE_KERNEL} but no {looked_for} beside it")


def _problem(node: Node) -> str | None:
    if not isinstance(node, RegularFile):
        return "is not a regular file"
    return None if node.verity is not None else f"has {node.size} bytes, too few for what it is"


def _regular(node: Node) -> RegularFile:
    assert isinstance(node, RegularFile)
    return node


def _contents(files: KernelFiles) -> tuple[tuple[str, tuple[str, int]], ...]:
    """Return the name on ``$BOOT``, the object and the size of both files."""
    return (
        (KERNEL_NAME, (files.kernel_object, files.kernel_size)),
        (INITRAMFS_NAME, (files.initramfs_object, files.initramfs_size)),
    )


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


def _named_by_entries(sysroot: Sysroot) -> set[str]:
    found: set[str] = set()
    for path in entry_files(sysroot):
        found.update(digest.decode() for digest in _REFERENCE.findall(read_text(path) or b""))
    return found


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
