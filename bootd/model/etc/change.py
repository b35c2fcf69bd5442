"""Copies of files of ``/etc``, what is still undecided in it, and changes of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bootd.model.deployment import DeploymentId
from bootd.model.etc.report import MAX_CONFLICTS, EtcConflict
from bootd.model.readers import Shown

MAX_PATHS: Final = 1_000
_MAX_TEXT: Final = 1 << 18


class CopyReason(StrEnum):
    """Why a copy of files of ``/etc`` was made."""

    COLLECTED = "collected"
    """Their deployment was removed, and they were edits that no other one has."""
    CARRIED = "carried"
    """A rollback put the merge with later edits in their place."""
    RESET = "reset"
    """They were put back to what the image ships."""
    RESOLVED = "resolved"
    """A conflict was resolved another way than they stood."""
    RESTORED = "restored"
    """Another copy took their place."""


class Undecided(BaseModel):
    """A conflict that nobody has decided yet, as a deployment's folder keeps it."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    conflict: EtcConflict
    base: str | None = Field(default=None, max_length=_MAX_TEXT * 2)
    """The text both sides came from, in base64; None where it is no text, or large."""


class EtcCopy(BaseModel):
    """One copy."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    name: str = Field(max_length=64, pattern=r"^[0-9a-f]{16}\.[0-9]{1,9}(-[0-9]{1,9})?$")
    """The deployment's ID; of what was copied while it ran a number follows."""
    deployment: DeploymentId
    reason: CopyReason
    created: datetime
    size: int = Field(ge=0)
    """Bytes of the archive."""
    paths: list[str] = Field(max_length=MAX_PATHS)
    """What is in it, and what was not there when it was made."""
    more_paths: int = 0
    """How many beyond those."""
    left_out: list[str] = Field(default_factory=list, max_length=MAX_PATHS)
    """What was too large to be kept."""
    absent: list[str] = Field(default_factory=list, max_length=MAX_PATHS)
    """Paths at which nothing stood; restoring the copy removes what stands there now."""


class KeptCopy(EtcCopy):
    """A copy as its record keeps it."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    decided: list[Undecided] = Field(default_factory=list, max_length=MAX_CONFLICTS)
    """Conflicts that the change decided; restoring the copy asks them again."""


class EtcCopiesDocument(BaseModel):
    """The copies that are kept, the newest first."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    version: Literal[1] = 1
    kind: Literal["EtcCopies"] = "EtcCopies"
    copies: list[EtcCopy]
    keep_days: int
    """After how many days each is removed."""


class EtcChangeDocument(BaseModel):
    """Result of a reset, a resolution or a restoration."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    version: Literal[1] = 1
    kind: Literal["EtcChange"] = "EtcChange"
    dry_run: bool = False
    """Nothing was changed: all the rest says what would be."""
    decided: list[Shown] = Field(default_factory=list, max_length=MAX_PATHS)
    """Paths at which something was undecided, and is no longer."""
    undecided: list[Shown] = Field(default_factory=list, max_length=MAX_PATHS)
    """Paths that a pattern or a folder takes, and that cannot be decided this way: users and
    groups."""
    changed: list[Shown] = Field(max_length=MAX_PATHS)
    """Paths that are another now."""
    more_changed: int = 0
    """How many beyond those."""
    removed: list[Shown] = Field(default_factory=list, max_length=MAX_PATHS)
    """Paths at which nothing stands any more."""
    skipped: list[Shown] = Field(default_factory=list, max_length=MAX_PATHS)
    """User databases that a copy has and that were not put back, because users would be gone."""
    kept_as: Shown | None
    """The copy that has what stood there before; None: nothing was lost, or none are kept."""
    not_kept: list[Shown] = Field(default_factory=list, max_length=MAX_PATHS)
    """What was too large for a copy."""


class UndecidedConflicts(BaseModel):
    """``deployments/<id>/etc-undecided.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    conflicts: list[Undecided] = Field(default_factory=list, max_length=MAX_CONFLICTS)


class Choice(StrEnum):
    """How to decide a conflict."""

    MINE = "mine"
    THEIRS = "theirs"
    EDIT = "edit"


class OpenConflict(BaseModel):
    """A conflict that nobody has decided yet, with what each side made of the base."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    deployment: DeploymentId
    """In which it stands: the running one, or the staged one, where it is going to."""
    conflict: EtcConflict
    diff_mine: str = ""
    """A unified diff from the base to what stands here; empty where there is no text to compare."""
    diff_theirs: str = ""
    """The same to what the image ships."""


class EtcVersionsDocument(BaseModel):
    """A text at which both sides disagree, to be edited."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    version: Literal[1] = 1
    kind: Literal["EtcVersions"] = "EtcVersions"
    path: str
    mine: str
    """What stands here, in base64, as all three."""
    theirs: str
    marked: str
    """Both merged, with marks where they clash."""
