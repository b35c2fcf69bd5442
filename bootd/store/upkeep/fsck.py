"""Fsck: measures all that the store holds again, names what is damaged, and makes room for repair.

Repair takes away what an upgrade brings back: damaged objects, and before them, durably, the layer
indexes and images that need them. A layer that has no index is fetched again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bootd.durable import storage_errors
from bootd.model.digest import Digest
from bootd.model.documents import Damage
from bootd.model.errors import BootdError, DamagedRecordError, StorageError
from bootd.store.erofs import ErofsImage
from bootd.store.images.image import EROFS_NAME, StoredImage, all_images, image_path, open_image
from bootd.store.layer_index import layer_objects
from bootd.store.layers import all_layers, layer_path
from bootd.store.objects.files import all_objects, object_name, object_path
from bootd.store.objects.measuring import measure_all
from bootd.sysroot import Sysroot

_DAMAGE: Final = frozenset(
    {
        *(errno.EIO, errno.EUCLEAN, errno.EBADMSG),  # the disk, the file system, fs-verity
        *(errno.EINVAL, errno.EMSGSIZE),  # fs-verity's descriptor
        *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENXIO),
    }
)
"""Why a file cannot be read if the file is the reason, and not the machine that reads it."""
Report = Callable[[int, int], None]
"""Told bytes measured and bytes to measure."""


@dataclass(slots=True)
class Checked:
    """What was checked, and what is damaged."""

    objects: int = 0
    bytes: int = 0
    images: int = 0
    damages: list[Damage] = field(default_factory=list)


def check_store(sysroot: Sysroot, *, repair: bool, report: Report) -> Checked:
    """Check objects, layers, images and the EROFS images of deployments.

    Args:
        sysroot: the machine, locked by the caller: exclusively to repair.
        repair: take away what the next upgrade can bring back.
        report: told how far it is.

    Raises:
        WriteFailedError: a folder of the store cannot be listed, a file cannot be opened though it
            may be sound, or nothing can be removed.
        NoVerityError: the running kernel cannot read what is guarded by fs-verity.
        DamagedRecordError: something that is neither layer nor image lies among them.
    """
    checked = Checked()
    sound, damaged = _check_objects(sysroot, checked, report)
    layers = dict(_check_layers(sysroot, sound))
    images = dict(_check_images(sysroot, sound, checked))
    # The last that can be refused: until here nothing was taken away.
    _check_deployments(sysroot, sound, checked)
    for diff_id, problem in layers.items():
        _add(checked, "layer", layer_path(sysroot, diff_id), problem, repaired=repair)
        if repair:
            sysroot.disk.remove_file(layer_path(sysroot, diff_id))
    for digest, problem in images.items():
        _add(checked, "image", image_path(sysroot, digest), problem, repaired=repair)
        if repair:
            sysroot.disk.remove_tree(image_path(sysroot, digest))
    for verity, problem in damaged.items():
        path = object_path(sysroot, verity)
        _add(checked, "object", path, problem, repaired=repair)
        if repair:
            sysroot.disk.discard_file(path)
    return checked


def _check_objects(
    sysroot: Sysroot, checked: Checked, report: Report
) -> tuple[set[bytes], dict[bytes, str]]:
    """Return the digests of the sound objects, and what is wrong with each of the others."""
    sound: set[bytes] = set()
    damaged: dict[bytes, str] = {}
    paths = {verity: f"{sysroot.objects}/{object_name(verity)}" for verity in all_objects(sysroot)}
    with storage_errors("read", sysroot.objects):
        sizes = [os.stat(path).st_size for path in paths.values()]  # noqa: PTH116 - a Path each costs more than all else
    total = sum(sizes)
    measured_ones = measure_all(paths.values(), sysroot.hash_algorithm())
    for verity, size, measured in zip(paths, sizes, measured_ones, strict=True):
        problem = _problem_of(measured, verity)
        if problem is None:
            sound.add(verity)
        else:
            damaged[verity] = problem
        checked.objects += 1
        checked.bytes += size
        report(checked.bytes, total)
    return sound, damaged


def _problem_of(measured: bytes | StorageError, verity: bytes) -> str | None:
    if isinstance(measured, StorageError):
        return _problem(measured)
    return None if measured == verity else f"it measures {measured.hex()}"


def _check_layers(sysroot: Sysroot, sound: set[bytes]) -> Iterator[tuple[Digest, str]]:
    for diff_id in all_layers(sysroot):
        try:
            lacking = len(layer_objects(sysroot, diff_id) - sound)
        except StorageError as error:
            yield diff_id, _problem(error)
        else:
            if lacking:
                yield diff_id, _lacks(lacking)


def _check_images(
    sysroot: Sysroot, sound: set[bytes], checked: Checked
) -> Iterator[tuple[Digest, str]]:
    for digest in all_images(sysroot):
        checked.images += 1
        try:
            image = open_image(sysroot, digest)
            image.diff_ids()
            lacking = len(_objects_of(image) - sound)
        except StorageError as error:
            yield digest, _problem(error)
        else:
            if lacking:
                yield digest, _lacks(lacking)


def _objects_of(image: StoredImage) -> set[bytes]:
    with ErofsImage.open(image.erofs) as erofs:
        return erofs.objects()


def _check_deployments(sysroot: Sysroot, sound: set[bytes], checked: Checked) -> None:
    """Measure each deployment's EROFS image; deployments are never taken away."""
    for identifier in sysroot.deployment_ids():
        path = sysroot.deployment(identifier) / EROFS_NAME
        try:
            promised = sysroot.read_deployment(identifier).erofs
        except DamagedRecordError:
            # Who asked for the check has read the records and names this one.
            continue
        except BootdError as error:
            _add(checked, "deployment", path.parent, error.message, repaired=False)
            continue
        (measured,) = measure_all([str(path)], sysroot.hash_algorithm())
        problem = _problem_of(measured, bytes.fromhex(promised))
        if problem is not None:
            _add(checked, "deployment", path, problem, repaired=False)
            continue
        with ErofsImage.open(path) as erofs:
            lacking = len(erofs.objects() - sound)
        if lacking:
            _add(checked, "deployment", path.parent, _lacks(lacking), repaired=False)


def _problem(error: StorageError) -> str:
    """Say what is wrong, unless only this machine or this kernel cannot read it."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno not in _DAMAGE:
        raise error
    return error.message


def _lacks(count: int) -> str:
    return f"it needs {count} {'object' if count == 1 else 'objects'} missing or damaged"


def _add(checked: Checked, what: str, path: Path, problem: str, *, repaired: bool) -> None:
    checked.damages.append(Damage(what=what, path=str(path), problem=problem, repaired=repaired))
