"""What ``doctor`` says of a machine: does it suit bootd, and what is done next?

The rules for documents are those of `bootd.model.documents`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bootd.model.documents import Document


class Fit(StrEnum):
    """How something suits bootd."""

    FITS = "fits"
    LOOK = "look"
    """It works, under a condition that the finding names."""
    BLOCKS = "blocks"
    """Nothing works before this is changed."""
    UNKNOWN = "unknown"
    """It could not be found out; the finding says why."""


class DoctorFinding(BaseModel):
    """What was found out about one thing.

    Attributes:
        topic: which, such as ``firmware`` or ``boot partition``.
        fit: how it suits bootd.
        text: what is there.
        hint: what to do about it, or what it means; empty where nothing is to be done.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    topic: str
    fit: Fit
    text: str
    hint: str = ""


class NextCommand(BaseModel):
    """A command that makes sense now, and what for."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    command: str
    purpose: str


class DoctorDocument(Document):
    """``doctor``: all findings, and the ways on."""

    kind: Literal["Doctor"] = "Doctor"
    managed: bool
    """Whether the machine runs from a deployment of bootd, or has a store of one."""
    findings: list[DoctorFinding]
    next: list[NextCommand]

    @property
    def blocked(self) -> bool:
        """Whether anything has to be changed before bootd can work here."""
        return any(finding.fit is Fit.BLOCKS for finding in self.findings)
