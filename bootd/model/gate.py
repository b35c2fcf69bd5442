"""What a gate says to something that nobody asks for, such as a restart at night."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from bootd.model.readers import Shown


class Answer(StrEnum):
    """Whether it may be done."""

    YES = "yes"
    LATER = "later"
    """It is tried again, at a time that is known or when something changes."""
    NO = "no"
    """It is not tried again by itself."""


class GateVerdict(BaseModel):
    """The answer of one gate."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    gate: Shown
    """Its name."""
    answer: Answer
    reason: Shown = ""
    """Why not, in words; for yes, what no longer counts, or empty."""
    until: datetime | None = None
    """When it is worth another look; None: that is not known."""
