"""The kernel of an image: the one that it has, and what makes it none that a host could boot.

A kernel lies with its initramfs in ``/usr/lib/modules/VERSION``. A unified kernel image (UKI, UAPI
Group Specifications, UKI.1) holds both and the kernel arguments in one file, and no boot entry of
bootd's can name a deployment to it; an image that has only such a one is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bootd.model.errors import (
    InvalidTreeError,
    NoInitramfsError,
    NoKernelError,
    SeveralKernelsError,
)
from bootd.model.registry.refusal import Refusal
from bootd.model.tree import Directory, Node, RegularFile, lookup

MODULES: Final = "/usr/lib/modules"
IMAGE_KERNEL: Final = "vmlinuz"
IMAGE_INITRAMFS: Final = ("initramfs.img", "initrd.img", "initrd")
"""Names looked for beside the kernel; the first that is there is taken."""

_MAX_VERSION: Final = 255
_SHOWN: Final = 5
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", re.ASCII)
_UNIFIED: Final = ".efi"
_ADDON: Final = ".addon.efi"
"""An addon for a UKI (systemd-stub(7)) boots nothing by itself."""
_PARTITIONS: Final = (b"boot", b"efi", b"boot/efi")
"""Where an image may hold what is for the boot partition; UKIs are in ``EFI/Linux`` there."""
_SEPARATE: Final = (
    f"Put kernel and initramfs into {MODULES}/VERSION as two files, {IMAGE_KERNEL} and "
    f"{IMAGE_INITRAMFS[0]} (dracut: uefi=no; mkosi: UnifiedKernelImages=no)."
)


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
    for refusal in kernel_refusals(tree):
        raise refusal.error
    [(version, folder)] = _kernels(tree).items()
    name = _initramfs_name(folder)
    assert name is not None
    return KernelFound(version, _regular(folder, IMAGE_KERNEL), _regular(folder, name))


def kernel_refusals(tree: Directory) -> Iterator[Refusal]:
    """Yield what keeps a host from booting an image's kernel, the most important first."""
    kernels = _kernels(tree)
    if not kernels:
        yield _no_kernel(tree)
    if len(kernels) > 1:
        paths = [f"{MODULES}/{version}/{IMAGE_KERNEL}" for version in kernels]
        error = SeveralKernelsError(f"the image has {len(paths)} kernels: {_some(paths)}")
        yield Refusal(MODULES, error)
    for version, folder in kernels.items():
        yield from _folder_refusals(tree, version, folder)


def _folder_refusals(tree: Directory, version: str, folder: Directory) -> Iterator[Refusal]:
    path = f"{MODULES}/{version}"
    if len(version) > _MAX_VERSION or _VERSION.fullmatch(version) is None:
        problem = f"{version[:_MAX_VERSION]!r} under {MODULES} is no kernel version"
        yield Refusal(path, InvalidTreeError(problem))
    kernel = f"{path}/{IMAGE_KERNEL}"
    if unusable := _problem(folder, IMAGE_KERNEL):
        yield Refusal(kernel, NoKernelError(f"{kernel} {unusable}"))
    name = _initramfs_name(folder)
    if name is None:
        yield Refusal(path, _no_initramfs(tree, kernel))
    elif unusable := _problem(folder, name):
        initramfs = f"{path}/{name}"
        yield Refusal(initramfs, NoInitramfsError(f"{initramfs} {unusable}"))


def _no_kernel(tree: Directory) -> Refusal:
    unified = _unified_kernels(tree)
    if unified:
        message = (
            f"bootd does not support UKIs, and the image's only kernel is one: {_some(unified)}"
        )
        return Refusal(unified[0], NoKernelError(message, hint=_SEPARATE))
    number = len(_folders(tree))
    looked_in = f"the {number} folders of {MODULES}" if number else MODULES
    message = (
        f"the image has no kernel: there is no {IMAGE_KERNEL} (nor {IMAGE_INITRAMFS[0]} with "
        f"it) in {looked_in}"
    )
    return Refusal(MODULES, NoKernelError(message))


def _no_initramfs(tree: Directory, kernel: str) -> NoInitramfsError:
    message = f"the image has {kernel} but no {' or '.join(IMAGE_INITRAMFS)} beside it"
    unified = _unified_kernels(tree)
    if not unified:
        return NoInitramfsError(message)
    more = f"; bootd does not support UKIs, of which it has {_some(unified)}"
    return NoInitramfsError(message + more, hint=_SEPARATE)


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f"{', '.join(paths[:_SHOWN])}{more}"


def _folders(tree: Directory) -> dict[str, Directory | None]:
    """Return what is under ``/usr/lib/modules`` by name, in order; None: it is no folder."""
    modules = lookup(tree, MODULES.encode())
    entries = sorted(modules.entries.items()) if isinstance(modules, Directory) else []
    return {
        name.decode(errors="replace"): node if isinstance(node, Directory) else None
        for name, node in entries
    }


def _kernels(tree: Directory) -> dict[str, Directory]:
    """Return the folders that hold a kernel, by version."""
    return {
        version: folder
        for version, folder in _folders(tree).items()
        if folder is not None and IMAGE_KERNEL.encode() in folder.entries
    }


def _unified_kernels(tree: Directory) -> list[str]:
    """Return the paths of the UKIs that an image has where such are looked for."""
    modules = {f"{MODULES}/{name}": folder for name, folder in _folders(tree).items()}
    places = [(path, folder) for path, folder in modules.items() if folder is not None]
    for partition in _PARTITIONS:
        for path, efi in _alike(f"/{partition.decode()}", lookup(tree, partition), b"efi"):
            places += [
                (below, linux)
                for below, linux in _alike(path, efi, b"linux")
                if isinstance(linux, Directory)
            ]
    return [
        f"{path}/{name.decode(errors='replace')}"
        for path, folder in places
        for name, node in sorted(folder.entries.items())
        if isinstance(node, RegularFile) and _is_unified(name.decode(errors="replace").lower())
    ]


def _is_unified(name: str) -> bool:
    return name.endswith(_UNIFIED) and not name.endswith(_ADDON)


def _alike(path: str, folder: Node | None, name: bytes) -> Iterator[tuple[str, Node]]:
    """Yield what has a name in a folder, in capitals or not, as on the VFAT that it is for."""
    for entry, node in sorted(folder.entries.items()) if isinstance(folder, Directory) else ():
        if entry.lower() == name:
            yield f"{path}/{entry.decode()}", node


def _initramfs_name(folder: Directory) -> str | None:
    return next((name for name in IMAGE_INITRAMFS if name.encode() in folder.entries), None)


def _problem(folder: Directory, name: str) -> str | None:
    node = folder.entries[name.encode()]
    if not isinstance(node, RegularFile):
        return "is not a regular file"
    return None if node.verity is not None else f"has {node.size} bytes, too few for what it is"


def _regular(folder: Directory, name: str) -> RegularFile:
    node = folder.entries[name.encode()]
    assert isinstance(node, RegularFile)
    return node
