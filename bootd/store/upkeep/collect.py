"""Collect: images, layers and objects that no kept image needs.

Order: the names by which things are found first, each durably, then the objects, by mark and sweep
over what is left. A cut in between leaves objects that the next collect removes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.durable import TEMPORARY_PREFIX, storage_errors
from bootd.model.digest import Digest
from bootd.store.images.image import all_images, diff_ids_of, image_path, open_image
from bootd.store.known_contents import forget_contents
from bootd.store.layers import all_layers, layer_path
from bootd.store.upkeep.references import referenced_objects, sweep_objects
from bootd.sysroot import Sysroot

_BLOCK: Final = 512
"""The unit of ``st_blocks`` (stat(3type))."""


@dataclass(frozen=True, slots=True)
class Swept:
    """How much went."""

    images: int
    layers: int
    objects: int
    partial_downloads: int
    freed_bytes: int


def sweep(sysroot: Sysroot, kept: Collection[Digest], report: Callable[[], None]) -> Swept:
    """Remove all that the kept images and the deployments do not need.

    The caller holds the store's lock and has removed the deployments that were to go.

    Args:
        sysroot: the machine.
        kept: manifest digests of the images that stay, those that are missing included.
        report: called now and then; it may raise to stop.

    Raises:
        DamagedRecordError, DamagedImageError, UnknownFormatError: what is needed cannot be known;
            nothing more goes.
        WriteFailedError: the disk is in the way.
    """
    images = all_images(sysroot)
    staying = [digest for digest in images if digest in kept]
    needed_layers = {
        diff_id for digest in staying for diff_id in open_image(sysroot, digest).diff_ids()
    }
    report()
    doomed_images = [digest for digest in images if digest not in kept]
    for digest in doomed_images:
        sysroot.disk.remove_tree(image_path(sysroot, digest))
    doomed_layers = [known for known in all_layers(sysroot) if known not in needed_layers]
    for diff_id in doomed_layers:
        sysroot.disk.remove_file(layer_path(sysroot, diff_id))
    for path in _unfinished_layers(sysroot):
        sysroot.disk.discard_file(path)
    forget_contents(sysroot, needed_layers)
    partial, partial_bytes = _drop_partial(sysroot)
    objects, freed = sweep_objects(sysroot, referenced_objects(sysroot), report)
    return Swept(len(doomed_images), len(doomed_layers), objects, partial, freed + partial_bytes)


def has_unneeded_layers(sysroot: Sysroot, kept: Collection[Digest]) -> bool:
    """Tell whether there are layers of none of the kept images, or leftovers of unfinished ones.

    Raises:
        DamagedRecordError: which layers an image has cannot be known.
    """
    images = (digest for digest in all_images(sysroot) if digest in kept)
    needed = {diff_id for digest in images for diff_id in diff_ids_of(sysroot, digest)}
    return not needed.issuperset(all_layers(sysroot)) or bool(_unfinished_layers(sysroot))


def _unfinished_layers(sysroot: Sysroot) -> list[Path]:
    """Return the layer indexes that an import which was killed left."""
    return sorted(sysroot.layers.glob(TEMPORARY_PREFIX + "*"))


def _drop_partial(sysroot: Sysroot) -> tuple[int, int]:
    """Remove downloads that nobody came back for; the lock says that none is going on."""
    count = size = 0
    if sysroot.partial.is_dir():
        with storage_errors("list", sysroot.partial):
            files = [path for path in sysroot.partial.iterdir() if path.is_file()]
        for path in files:
            facts = path.stat()
            # One may begin with a hole (`bootd.registry.blobs.partial`).
            size += min(facts.st_size, facts.st_blocks * _BLOCK)
            count += 1
            sysroot.disk.discard_file(path)
    return count, size
