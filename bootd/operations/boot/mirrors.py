"""Whether the mirrors of ``$BOOT`` are like it, and making them so.

Compared is what is this installation's: its boot entries under their names, the files these name,
and the boot loader that bootd installed. Order of writes on a mirror: files, the loader, entries
that are missing there, and last the entries that are too many; then kernels that none names.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from typing import Final

from bootd.boot.entries import prepare_loader
from bootd.boot.kernels.kernel_folders import remove_kernel, unreferenced_kernels
from bootd.boot.listing import list_entries, own_names
from bootd.boot.mirrors import mirrored
from bootd.boot.places import entries_folder
from bootd.boot.proof import boot_refusal
from bootd.durable import storage_errors
from bootd.model.boot.partition import BootMirror
from bootd.model.documents import Damage
from bootd.model.errors import BootdError
from bootd.sysroot import Sysroot

_MODE: Final = 0o644
_SHOWN: Final = 3


def check_mirrors(sysroot: Sysroot, *, thorough: bool, repair: bool) -> list[Damage]:
    """Compare the mirrors with ``$BOOT``, and make them like it.

    Args:
        sysroot: the machine; to repair it, the caller holds an exclusive lock.
        thorough: compare every byte; otherwise sizes are enough.
        repair: make them alike; otherwise it is only told.

    Returns:
        What differs, one for each mirror; `repaired` says whether it is alike now.
    """
    if not sysroot.partition.mirrors or boot_refusal(sysroot) is not None:
        return []
    checked = (
        _check(sysroot, mirror, thorough=thorough, repair=repair)
        for mirror in sysroot.partition.mirrors
    )
    return [damage for damage in checked if damage is not None]


def _check(sysroot: Sysroot, mirror: BootMirror, *, thorough: bool, repair: bool) -> Damage | None:
    other = mirrored(sysroot, mirror)
    name = sysroot.partition.name or str(sysroot.boot)
    try:
        differing = _differing_files(sysroot, other, thorough=thorough)
        missing, extra = _differing_entries(sysroot, other)
        if not (differing or missing or extra):
            return None
        changes = ", ".join([*differing, *missing, *extra][:_SHOWN])
        count = len(differing) + len(missing) + len(extra)
        problem = f"{mirror.name} differs from the boot partition {name} in {count} files"
        problem = f"{problem}: {changes}"
        if repair:
            _make_alike(sysroot, other, differing, missing, extra)
        return Damage(what="boot-partition", path=mirror.name, problem=problem, repaired=repair)
    except BootdError as error:
        problem = f"{mirror.name} is not kept like the boot partition {name}: {error.message}"
        return Damage(what="boot-partition", path=mirror.name, problem=problem, repaired=False)


def _differing_files(sysroot: Sysroot, other: Sysroot, *, thorough: bool) -> list[str]:
    """Return paths, from the root of ``$BOOT``, of what entries name or firmware starts."""
    named = sorted(set(_needed(sysroot)))
    there = [name for name in named if (sysroot.boot / name).is_file()]
    with storage_errors("compare", other.boot):
        return [name for name in there if not _same(sysroot, other, name, thorough=thorough)]


def _needed(sysroot: Sysroot) -> Iterator[str]:
    for entry in list_entries(sysroot).entries:
        yield from (path.lstrip("/") for path in (entry.linux, *entry.initrds))
        yield from (value.lstrip("/") for key, value in entry.extra if key == "devicetree")
    yield from sysroot.read_loader().names


def _same(sysroot: Sysroot, other: Sysroot, name: str, *, thorough: bool) -> bool:
    one, two = sysroot.boot / name, other.boot / name
    if not two.is_file() or one.stat().st_size != two.stat().st_size:
        return False
    return not thorough or filecmp.cmp(one, two, shallow=False)


def _differing_entries(sysroot: Sysroot, other: Sysroot) -> tuple[list[str], list[str]]:
    """Return the names of entries that a mirror lacks, or has otherwise, and of those too many."""
    names, present = own_names(sysroot), own_names(other)
    folder, copies = entries_folder(sysroot), entries_folder(other)
    with storage_errors("compare", copies):
        missing = [
            name
            for name in names
            if name not in present or not filecmp.cmp(folder / name, copies / name, shallow=False)
        ]
    return missing, [name for name in present if name not in names]


def _make_alike(
    sysroot: Sysroot, other: Sysroot, files: list[str], missing: list[str], extra: list[str]
) -> None:
    disk = sysroot.disk
    prepare_loader(other)
    for name in files:
        disk.make_directory((other.boot / name).parent, 0o755)
        disk.copy_file(sysroot.boot / name, other.boot / name, _MODE)
    disk.sync_filesystem(other.boot)
    with other.boot_lock():
        for name in missing:
            source = entries_folder(sysroot) / name
            disk.copy_file(source, entries_folder(other) / name, _MODE)
            disk.sync_filesystem(other.boot)
        for name in extra:
            disk.remove_file(entries_folder(other) / name)
    for name in unreferenced_kernels(other, ()):
        remove_kernel(other, name)
