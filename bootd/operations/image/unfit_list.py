"""The unfit images that are known: ``unfit.json``, for each its digest and what is wrong with it.

A publisher may build the same fault anew every night, under another digest. So an image is known as
well by the layer that is at fault, where it is one alone, and by its layers together.

It is a cache: one that cannot be read, or that another version of bootd wrote by its own rules, is
as good as none, and the images are found unfit once more.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from bootd import __version__
from bootd.model.deployment import Denial
from bootd.model.digest import Digest
from bootd.model.errors import ContentError
from bootd.model.registry.image import Descriptor, ResolvedImage
from bootd.records import read_cache, write_record
from bootd.sysroot import Sysroot

UNFIT: Final = "unfit-image"
"""Cause of such a denial; its evidence says what is wrong with the image, and what to do."""

_FILE_NAME: Final = "unfit.json"
_MOST: Final = 100
_MAX_EVIDENCE: Final = 4_096
_MAX_KEY: Final = 300


class UnfitImage(Denial):
    """An image that no host can use.

    Attributes:
        layers: a digest of its diff IDs, which say what its tree is.
        layer: the layer that is at fault, as `_layer_key` names it; empty: not one alone.
    """

    layers: str = Field(default="", max_length=_MAX_KEY)
    layer: str = Field(default="", max_length=_MAX_KEY)

    @classmethod
    def of(cls, resolved: ResolvedImage, error: ContentError, when: datetime) -> Self:
        """Return what is to be noted of an image."""
        at_fault = None if error.layer is None else resolved.layers[error.layer - 1]
        return cls(
            digest=resolved.digest,
            cause=UNFIT,
            when=when,
            evidence=f"{error.message}\n{error.hint}"[:_MAX_EVIDENCE],
            layers=_layers_key(resolved),
            layer="" if at_fault is None else _layer_key(*at_fault),
        )

    def is_like(self, resolved: ResolvedImage) -> bool:
        """Tell whether another image has the same fault."""
        keys = {_layer_key(*one) for one in resolved.layers}
        return self.layer in keys if self.layer else self.layers == _layers_key(resolved)


class _UnfitImages(BaseModel):
    """The list, the newest last.

    Attributes:
        bootd: the version whose rules the images break.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    bootd: str
    images: Annotated[list[UnfitImage], Field(max_length=_MOST)]


def unfit_images(sysroot: Sysroot) -> list[UnfitImage]:
    """Return the images that are known to be unfit, the oldest first."""
    record = read_cache(sysroot.store / _FILE_NAME, _UnfitImages)
    return [] if record is None or record.bootd != __version__ else record.images


def find_unfit(sysroot: Sysroot, digest: Digest) -> UnfitImage | None:
    """Return what is known to be wrong with an image, or None."""
    return next((one for one in unfit_images(sysroot) if one.digest == digest), None)


def find_like(sysroot: Sysroot, resolved: ResolvedImage) -> UnfitImage | None:
    """Return what is known to be wrong with an image, or with one that has the same fault."""
    known = unfit_images(sysroot)
    same = (one for one in known if one.digest == resolved.digest)
    return next(same, None) or next((one for one in known if one.is_like(resolved)), None)


def what_is_wrong(denial: Denial) -> str:
    """Return what is wrong with an unfit image, without what to do."""
    return denial.evidence.partition("\n")[0]


def add_unfit(sysroot: Sysroot, image: UnfitImage) -> None:
    """Put an image on the list, durably; beyond a hundred the oldest are forgotten.

    Raises:
        NoSpaceError, WriteFailedError: the disk is in the way; the list is as it was.
    """
    others = [one for one in unfit_images(sysroot) if one.digest != image.digest]
    _write(sysroot, [*others, image][-_MOST:])


def forget_unfit(sysroot: Sysroot, digest: Digest) -> bool:
    """Take an image off the list, and those with the same fault; return whether it was on it.

    Raises:
        NoSpaceError, WriteFailedError: the disk is in the way; the list is as it was.
    """
    gone = find_unfit(sysroot, digest)
    if gone is None:
        return False
    known = unfit_images(sysroot)
    _write(
        sysroot, [one for one in known if (one.layer or one.layers) != (gone.layer or gone.layers)]
    )
    return True


def forget_all(sysroot: Sysroot) -> None:
    """Let every image be tried again."""
    sysroot.disk.remove_file(sysroot.store / _FILE_NAME)


def _layer_key(descriptor: Descriptor, diff_id: Digest) -> str:
    return f"{descriptor.digest} {diff_id}"


def _layers_key(resolved: ResolvedImage) -> str:
    return Digest.of(" ".join(resolved.config.diff_ids).encode())


def _write(sysroot: Sysroot, images: list[UnfitImage]) -> None:
    record = _UnfitImages(bootd=__version__, images=images)
    write_record(sysroot.disk, sysroot.store / _FILE_NAME, record)
