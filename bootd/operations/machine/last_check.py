"""What the registry said last: what ``status`` shows, and what makes a poll conditional.

A check writes it, and so does a stage of the followed reference, which learnt as much.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from bootd.model.digest import Digest
from bootd.model.documents import AvailableImage
from bootd.model.errors import BootPartitionFullError
from bootd.model.registry.image import MAX_LAYERS, CachedCheck, ResolvedImage
from bootd.records import read_cache, write_record
from bootd.store.layers import has_layer
from bootd.sysroot import Sysroot

_FILE_NAME: Final = "check.json"
_MAX_TEXT: Final = 4_096


class LastCheck(BaseModel):
    """``check.json``: a cache, so one that cannot be read is as good as none.

    Attributes:
        image: the reference, as the machine follows it.
        digest: the manifest it named.
        image_version: that image's version.
        checked: when.
        layers: the compressed size of each layer by its diff ID.
        cached: makes the next poll conditional.
        no_room: why it could not be staged when that was tried last: ``$BOOT`` has no room; else
            empty.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[2] = 2
    image: str
    digest: Digest
    image_version: str
    checked: datetime
    layers: Annotated[dict[Digest, int], Field(max_length=MAX_LAYERS)]
    cached: CachedCheck
    no_room: Annotated[str, Field(max_length=_MAX_TEXT)] = ""

    @classmethod
    def of(cls, reference: str, resolved: ResolvedImage, checked: datetime) -> Self:
        """Return what a resolved image is remembered as."""
        return cls(
            image=reference,
            digest=resolved.digest,
            image_version=resolved.version,
            checked=checked,
            layers={diff_id: layer.size for layer, diff_id in resolved.layers},
            cached=resolved.seen,
        )

    def available(self, sysroot: Sysroot) -> AvailableImage:
        """Return it as documents show it; what is to download depends on the store of now."""
        missing = (size for key, size in self.layers.items() if not has_layer(sysroot, key))
        return AvailableImage(
            image=self.image,
            digest=self.digest,
            image_version=self.image_version,
            checked=self.checked,
            download_bytes=sum(missing),
        )


def read_last_check(sysroot: Sysroot) -> LastCheck | None:
    """Return what was kept, or None; the next check then asks in full."""
    return read_cache(sysroot.store / _FILE_NAME, LastCheck)


def without_room(last: LastCheck, error: BootPartitionFullError) -> LastCheck:
    """Return the same with why it was not staged."""
    return last.model_copy(update={"no_room": f"{error.message}. {error.hint}"[:_MAX_TEXT]})


def write_last_check(sysroot: Sysroot, last: LastCheck) -> None:
    """Keep an answer."""
    write_record(sysroot.disk, sysroot.store / _FILE_NAME, last)
