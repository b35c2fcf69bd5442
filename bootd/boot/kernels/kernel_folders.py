"""The folders in ``$BOOT/bootd``: what each is called, whose it is, which entries name it.

A kernel and its initramfs lie together in ``$BOOT/bootd/<digest>-<installation>/``, shared by all
deployments of one installation with the same pair; `installation` is the beginning of its ID. Older
versions made folders without it, which are used on.

Invariant: a folder that any boot entry names, or that belongs to another installation, is never
called unreferenced.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from bootd.boot.entry import KERNEL_FOLDER
from bootd.boot.mirrors import mirrors_first
from bootd.boot.places import entry_files, leftovers, read_text
from bootd.durable import TEMPORARY_PREFIX, storage_errors
from bootd.sysroot import Sysroot

_OWNER_DIGITS: Final = 8
"""How much of an installation's ID is in the name of a kernel's folder."""
_NAME: Final = re.compile(r"[0-9a-f]{64}(?:-(?P<owner>[0-9a-f]{8}))?", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_REFERENCE: Final = re.compile(
    rb"/" + KERNEL_FOLDER.encode() + rb"/([0-9a-f]{64}(?:-[0-9a-f]{8})?)/"
)


def kernel_folder(sysroot: Sysroot, digest: str) -> Path:
    """Return the folder on ``$BOOT`` for a pair of kernel and initramfs, existing or not.

    A folder of an older bootd, which has no installation in its name, is the one where it is there.
    """
    shared = sysroot.boot / KERNEL_FOLDER / digest
    own = shared.with_name(digest + _owner_suffix(sysroot))
    return shared if shared.is_dir() and not own.is_dir() else own


def owner_digits(name: str) -> str | None:
    """Return the beginning of the installation's ID that is in the name of a folder, or None."""
    match = _NAME.fullmatch(name)
    return None if match is None else match["owner"]


def is_own_folder(sysroot: Sysroot, name: str) -> bool:
    """Tell whether a folder has this installation in its name."""
    return f"-{owner_digits(name)}" == _owner_suffix(sysroot)


def kernel_references(sysroot: Sysroot) -> dict[str, frozenset[str]]:
    """Return the folders that each boot entry names, anybody's, by the entry's file name.

    Raises:
        InvalidBootEntryError: there are more entries than can be meant.
        WriteFailedError: they cannot be read.
    """
    return {
        path.name: frozenset(name.decode() for name in _REFERENCE.findall(read_text(path) or b""))
        for path in entry_files(sysroot)
    }


def unreferenced_kernels(
    sysroot: Sysroot, keep: Collection[str], *, without: Collection[str] = ()
) -> list[str]:
    """Return folder names under ``$BOOT/bootd`` that may go, leftovers of a crash included.

    Args:
        sysroot: the machine.
        keep: digests that deployments without an entry need. What an entry in ``loader/entries``
            names, whoever wrote it, stays in any case, and so does what belongs to another
            installation.
        without: file names of entries that are looked upon as gone.
    """
    suffix = _owner_suffix(sysroot)
    wanted = {*keep, *(digest + suffix for digest in keep)}
    for entry, folders in kernel_references(sysroot).items():
        if entry not in without:
            wanted |= folders
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


@mirrors_first
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


def discard_copy_leftovers(sysroot: Sysroot) -> None:
    """Remove what interrupted copies left in this installation's folders."""
    folder = sysroot.boot / KERNEL_FOLDER
    if not folder.is_dir():
        return
    with storage_errors("read", folder):
        own = [path for path in sorted(folder.iterdir()) if is_own_folder(sysroot, path.name)]
    for path in own:
        for leftover in leftovers(path):
            sysroot.disk.remove_file(leftover)


def _owner_suffix(sysroot: Sysroot) -> str:
    installation = sysroot.installation()
    return "" if installation is None else f"-{installation[:_OWNER_DIGITS]}"
