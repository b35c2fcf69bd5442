"""What bootd writes down about the boot loader that it keeps on ``$BOOT``."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bootd.model.digest import Digest

MAX_REMEMBERED: Final = 16
_MAX_TEXT: Final = 4_096


class WrittenLoader(BaseModel):
    """A loader, known by its bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=1)
    description: str = Field(default="", max_length=_MAX_TEXT)
    """``systemd-boot 257.8``, for people."""
    version: str | None = Field(default=None, max_length=_MAX_TEXT)
    signed: bool | None = None
    """Whether it has a signature for Secure Boot; None: it is no PE file."""


class OfferedLoader(BaseModel):
    """The loader of an image, so that the image need not be opened to know it."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    image: Digest
    """The manifest's digest."""
    loader: WrittenLoader | None
    """None: the image has none for this machine."""


class LoaderRecord(BaseModel):
    """``loader.json``: what is bootd's own among the loaders on ``$BOOT``.

    A loader is bootd's if it has one of the names and is one of those that were written. The record
    is replaced before a loader is, so a cut leaves nothing that it does not know.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    names: list[str] = Field(default_factory=list, max_length=MAX_REMEMBERED)
    """Paths from the root of ``$BOOT``; the first is the one that firmware is told to start."""
    written: list[WrittenLoader] = Field(default_factory=list, max_length=MAX_REMEMBERED)
    """The newest first: what all the names should hold."""
    complete: bool = True
    """False: the newest is being written, and some names may still hold the one before."""
    offered: OfferedLoader | None = None
    """The loader of the image that was looked at last."""
    failure: str | None = Field(default=None, max_length=_MAX_TEXT)
    """Why the loader of that image could not be put in place."""
