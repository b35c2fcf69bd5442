"""What bootd writes down about its boot entries, so that one that is lost can be put back."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

_MOST_ENTRIES: Final = 1_000
_MAX_NAME: Final = 255
_MAX_TEXT: Final = 65_536


class NotedEntry(BaseModel):
    """A boot entry as it was when it was seen last."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    name: str = Field(max_length=_MAX_NAME)
    """Its file name, with the counter."""
    text: str = Field(max_length=_MAX_TEXT)


class NotedEntries(BaseModel):
    """``entries.json``: the entry of each deployment that has been bootable."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    entries: list[NotedEntry] = Field(default_factory=list, max_length=_MOST_ENTRIES)
