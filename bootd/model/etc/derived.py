"""Files of ``/etc`` that are made from others, and how they are made anew.

A rule names the files and the command that makes them. What a merge leaves to be made anew stands
beside the deployment until the commands have run in it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_RULES: Final = 100
MAX_IMMUTABLE: Final = 10_000
_MAX_PATTERNS: Final = 100
_MAX_PATTERN: Final = 4_096
_MAX_WORDS: Final = 64
_MAX_WORD: Final = 4_096
_MAX_SECONDS: Final = 900

Pattern = Annotated[str, StringConstraints(max_length=_MAX_PATTERN, pattern=r"^/etc/.")]
"""A path as reports print it. ``*`` and ``?`` stand for what has no slash in it, ``**`` for
anything, ``[...]`` for one of some characters."""

RuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]

Path = Annotated[str, StringConstraints(max_length=1 << 18, pattern=r"^/etc/.")]

_Word = Annotated[str, StringConstraints(max_length=_MAX_WORD, pattern=r"^[^\x00]+$")]


class DerivedRule(BaseModel):
    """Some files that one command makes."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)

    paths: list[Pattern] = Field(default_factory=list, max_length=_MAX_PATTERNS)
    """The files and links that are made; a folder never is."""
    inputs: list[Pattern] = Field(default_factory=list, max_length=_MAX_PATTERNS)
    """What they are made from, as far as it is in ``/etc``. If there are such patterns, and none
    of them matches anything, the rule is not used."""
    follows: list[Pattern] = Field(default_factory=list, max_length=_MAX_PATTERNS)
    """Files for which the rule is used, too, if the image alone changed them: its program keeps
    something outside ``/etc``, too, and has to learn of the image's."""
    command: list[_Word] = Field(default_factory=list, max_length=_MAX_WORDS)
    """The program, with its path or looked up as the system does, and its arguments. Empty: the
    rule is switched off."""
    timeout_seconds: int = Field(default=120, ge=1, le=_MAX_SECONDS)
    severity: Literal["required", "wanted"] = "required"
    """What a failure means, as for a health check: ``required`` ends the trial."""


DerivedRules = Annotated[dict[RuleName, DerivedRule], Field(max_length=MAX_RULES)]


class DueRule(BaseModel):
    """A rule whose files a merge left to be made anew."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    name: RuleName
    rule: DerivedRule


class DueRules(BaseModel):
    """``deployments/<id>/derived-due.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    rules: list[DueRule] = Field(default_factory=list, max_length=4 * MAX_RULES)
    immutable: dict[Path, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict, max_length=MAX_IMMUTABLE
    )
    """By path, flags of chattr(1) that are to be set when the files are made."""
    runs: int = Field(default=0, ge=0)
    """How often they were begun."""
