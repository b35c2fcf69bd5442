"""The mark of an import under way, and what it means after a power cut.

Objects are written without a sync, and a layer's index appears only after a sync of the whole file
system. In between the power may go, and then a file system may show an object's name with an empty
or torn content. An import that found such a name would take the content for granted. So before its
first object an import makes a mark durable, with the ID of the boot it runs in, and takes it away
after its last index. An import that finds the mark of another boot removes all objects that nothing
vouches for: those that no index, image or deployment refers to, all of which were synced before
they appeared. The mark of the same boot means an import that was killed or failed: what it wrote is
whole for all who read it through the same page cache, and the next index's sync covers it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from bootd.model.errors import DamagedRecordError, UnknownFormatError
from bootd.records import read_record, write_record
from bootd.store.upkeep.references import referenced_objects, sweep_objects
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

MARK_NAME: Final = "importing.json"


class _Mark(BaseModel):
    """``importing.json``: the boot whose import has not ended."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    boot_id: str


@contextmanager
def importing(sysroot: Sysroot) -> Iterator[None]:
    """Hold the mark while layers are imported; the caller holds the store's lock.

    A body that fails leaves the mark, since some of what it wrote may not be durable.

    Raises:
        DamagedRecordError, DamagedImageError, UnknownFormatError: objects must be removed, and
            which are needed cannot be known.
        NoSpaceError, WriteFailedError: the disk is in the way.
    """
    mark = sysroot.store / MARK_NAME
    boot_id = sysroot.this_boot()
    marked = _marked_boot(mark)
    if marked not in (None, boot_id):
        count, size = sweep_objects(sysroot, referenced_objects(sysroot))
        _log.debug("removed %d objects (%d bytes) of an import before this boot", count, size)
    write_record(sysroot.disk, mark, _Mark(boot_id=boot_id))
    yield
    sysroot.disk.remove_file(mark)


def _marked_boot(mark: Path) -> str | None:
    """Return the boot of the last import that did not end, None when all did."""
    try:
        found = read_record(mark, _Mark)
    except (DamagedRecordError, UnknownFormatError) as error:
        # Which boot it was is lost, so it was another.
        _log.debug("%s", error.message)
        return ""
    return None if found is None else found.boot_id
