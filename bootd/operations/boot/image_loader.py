"""The boot loaders of the images in the store."""

from __future__ import annotations

import logging
import platform
from typing import Final

from bootd.boot.loader.file import look_at
from bootd.boot.loader.install import LOADER_FOLDER, find_loader
from bootd.model.deployment import DeploymentRecord
from bootd.model.errors import BootdError, DamagedObjectError, NoBootLoaderError
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey
from bootd.startup import later

with later():
    from bootd.store.images import image  # a status does without

_log = logging.getLogger(__name__)

_LEVELS: Final = 1
"""The loaders lie in one folder."""


def image_loader(host: Host, record: DeploymentRecord) -> bytes | None:
    """Return the loader of a deployment's image, or None where it has none for this machine.

    Raises:
        DamagedObjectError: its object is damaged.
        DamagedImageError, DamagedRecordError: the image is.
    """
    stored = image.open_image(host.sysroot, record.digest)
    tree = stored.tree(LOADER_FOLDER.strip("/").encode(), levels=_LEVELS)
    try:
        node = find_loader(tree, platform.machine())
    except NoBootLoaderError:
        return None
    data = stored.contents.read(node)
    if node.verity is not None and stored.contents.measure([data]) != node.verity:
        raise DamagedObjectError(f"the object {node.verity.hex()} of the boot loader is damaged")
    return data


def stored_loader(host: Host, survey: Survey, sha256: str) -> bytes | None:
    """Return the loader with a SHA-256 from any image that a deployment has, or None."""
    for record in {one.digest: one for one in survey.records.values()}.values():
        try:
            data = image_loader(host, record)
        except BootdError as error:
            _log.warning("the boot loader of %s cannot be read: %s", record.id, error.message)
            continue
        if data is not None and look_at(data).sha256 == sha256:
            return data
    return None


def running_record(survey: Survey) -> DeploymentRecord | None:
    """Return the record of the deployment that runs."""
    return survey.records.get(survey.booted) if survey.booted else None
