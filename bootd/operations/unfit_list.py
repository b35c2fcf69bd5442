"""The unfit images that are known: ``unfit.json``, for each its digest and what is wrong with it.

It is a cache: one that cannot be read, or that another version of bootd wrote by its own rules, is
as good as none, and the images are found unfit once more.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bootd import __version__
from bootd.model.deployment import Denial
from bootd.model.digest import Digest
from bootd.sysroot import Sysroot

UNFIT: Final = "unfit-image"
"""Cause of such a denial; its evidence says what is wrong with the image, and what to do."""

_FILE_NAME: Final = "unfit.json"
_MOST: Final = 100
_MAX_BYTES: Final = 8 << 20


class _UnfitImages(BaseModel):
    """The list, the newest last.

    Attributes:
        bootd: the version whose rules the images break.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    bootd: str
    images: Annotated[list[Denial], Field(max_length=_MOST)]


def unfit_images(sysroot: Sysroot) -> list[Denial]:
    """Return the images that are known to be unfit, the oldest first."""
    try:
        with (sysroot.store / _FILE_NAME).open("rb") as stream:
            found = _UnfitImages.model_validate_json(stream.read(_MAX_BYTES))
    except (OSError, ValidationError):
        return []
    return found.images if found.bootd == __version__ else []


def find_unfit(sysroot: Sysroot, digest: Digest) -> Denial | None:
    """Return what is known to be wrong with an image, or None."""
    return next((one for one in unfit_images(sysroot) if one.digest == digest), None)


def what_is_wrong(denial: Denial) -> str:
    """Return what is wrong with an unfit image, without what to do."""
    return denial.evidence.partition("\n")[0]


def add_unfit(sysroot: Sysroot, denial: Denial) -> None:
    """Put an image on the list, durably; beyond a hundred the oldest are forgotten.

    Raises:
        NoSpaceError, WriteFailedError: the disk is in the way; the list is as it was.
    """
    others = [one for one in unfit_images(sysroot) if one.digest != denial.digest]
    _write(sysroot, [*others, denial][-_MOST:])


def forget_unfit(sysroot: Sysroot, digest: Digest) -> bool:
    """Take an image off the list; return whether it was on it.

    Raises:
        NoSpaceError, WriteFailedError: the disk is in the way; the list is as it was.
    """
    before = unfit_images(sysroot)
    kept = [one for one in before if one.digest != digest]
    if len(kept) == len(before):
        return False
    _write(sysroot, kept)
    return True


def _write(sysroot: Sysroot, images: list[Denial]) -> None:
    record = _UnfitImages(bootd=__version__, images=images)
    text = json.dumps(record.model_dump(mode="json"), indent=2, sort_keys=True)
    sysroot.disk.replace_file(sysroot.store / _FILE_NAME, text.encode() + b"\n")
