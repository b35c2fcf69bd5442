"""The devicetree that a deployment boots with: what names it on this machine, read off the disk."""

from __future__ import annotations

from pathlib import Path

from bootd.boot.kernels.devicetree import (
    MAX_NAME_FILE,
    NAMED_BY_THE_IMAGE,
    NAMED_BY_THE_MACHINE,
    pick_devicetree,
)
from bootd.durable import storage_errors
from bootd.model.tree import RegularFile
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey
from bootd.store.contents import StoreContents
from bootd.store.erofs.reader import ErofsImage
from bootd.store.images.image import EROFS_NAME, StoredImage


def find_devicetree(
    host: Host, survey: Survey, image: StoredImage, version: str
) -> RegularFile | None:
    """Return the devicetree of an image to boot with on this machine, or None.

    Args:
        host: the machine.
        survey: a look at it.
        image: the image.
        version: its kernel's.

    Raises:
        NoDevicetreeError: what is named is not in the image, or is no name.
        DamagedImageError, DamagedObjectError, WriteFailedError: what names it cannot be read.
    """
    with ErofsImage.open(image.erofs) as erofs:
        by_machine = _default(erofs, f"/usr{NAMED_BY_THE_MACHINE}", image.contents)
        if survey.current in survey.records:
            folder = host.sysroot.deployment(survey.current)
            mine = _own(folder / NAMED_BY_THE_MACHINE.lstrip("/"))
            with ErofsImage.open(folder / EROFS_NAME) as running:
                base = _default(running, f"/usr{NAMED_BY_THE_MACHINE}", image.contents)
            # As /etc will be merged.
            by_machine = by_machine if mine == base else mine
        by_image = _default(erofs, NAMED_BY_THE_IMAGE, image.contents)
        pairs = ((NAMED_BY_THE_MACHINE, by_machine), (NAMED_BY_THE_IMAGE, by_image))
        named = [(path, content) for path, content in pairs if content is not None]
        return pick_devicetree(named, version, lambda path: erofs.lookup(path.encode()))


def _default(erofs: ErofsImage, path: str, contents: StoreContents) -> bytes | None:
    node = erofs.lookup(path.encode())
    if not isinstance(node, RegularFile) or node.size > MAX_NAME_FILE:
        return None
    return contents.read(node)


def _own(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    with storage_errors("read", path), path.open("rb") as stream:
        return stream.read(MAX_NAME_FILE)
