"""What became of the attempts to find and stage an update: absence of news is no good news."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bootd.model.digest import Digest
from bootd.model.errors import CancelledError, DeniedDigestError, HeldError, StagedByHandError
from bootd.model.readers import Guarded, Shown

MAX_ATTEMPTS: Final = 50
"""How many attempts are remembered."""
STAGING: Final = "stage"
"""The operation of an attempt to stage an image; any other is a check."""


DONE: Final = "done"
CANCELLED: Final = CancelledError.code
DECIDED_OR_DONE: Final = frozenset(
    {DONE, HeldError.code, DeniedDigestError.code, StagedByHandError.code}
)
"""Outcomes after which the next night is early enough."""


class Attempt(BaseModel):
    """One check or upgrade that came to its end."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    when: datetime
    """When it ended, UTC."""
    operation: Shown
    """``check`` or ``stage``."""
    automatic: bool = False
    """The timer asked for it."""
    user: int = Field(default=0, ge=0)
    """The user ID that asked for it."""
    outcome: Shown
    """``done``, or the code of the error."""
    message: Guarded = ""
    """What the error says."""
    hint: Guarded = ""
    """What to do then."""
    not_before: datetime | None = None
    """When a server wants to be asked again, at the earliest."""

    @property
    def is_failure(self) -> bool:
        """Whether it failed; what somebody decided, or cancelled, did not."""
        return self.outcome not in DECIDED_OR_DONE and self.outcome != CANCELLED


class FailingUpdates(BaseModel):
    """What a status says while attempts fail."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    in_a_row: int = Field(ge=1)
    """How many attempts failed since the last that did not."""
    since: datetime
    """When the first of them failed."""
    last_success: datetime | None = None
    """When one did not fail last; None: that is not known."""
    last: Attempt
    """The newest that failed."""


class NextRun(BaseModel):
    """When the machine looks for an update by itself next."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    when: datetime
    why: Shown
    """``regular``, ``missed``, ``retry`` or ``awaited``, see `bootd.schedule.plan.Why`."""


class Attempts(BaseModel):
    """``attempts.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    recent: list[Attempt] = Field(default_factory=list, max_length=MAX_ATTEMPTS)
    """The newest first."""
    in_a_row: int = Field(default=0, ge=0)
    """How many failed since the last that did not."""
    first_failure: datetime | None = None
    """When the first of those failed."""
    last_success: datetime | None = None
    announced: Digest | None = None
    """The update that was announced last."""
    last_run: Attempt | None = None
    """The newest that did what the timer is there for, whoever asked; however many others follow,
    the next run is planned from it."""

    @property
    def run(self) -> Attempt | None:
        """What the next run is planned from; None: there was none."""
        of_older = (one for one in self.recent if one.automatic or one.operation == STAGING)
        return self.last_run or next(of_older, None)

    @property
    def failing(self) -> FailingUpdates | None:
        """What a status says of it; None: the last attempt did not fail."""
        last = next((one for one in self.recent if one.is_failure), None)
        if not self.in_a_row or self.first_failure is None or last is None:
            return None
        return FailingUpdates(
            in_a_row=self.in_a_row,
            since=self.first_failure,
            last_success=self.last_success,
            last=last,
        )

    def with_attempt(self, attempt: Attempt, *, is_run: bool) -> Attempts:
        """Return the same after one more attempt; `is_run`: the next run is planned from it."""
        changes: dict[str, object] = {"recent": [attempt, *self.recent][:MAX_ATTEMPTS]}
        if is_run:
            changes["last_run"] = attempt
        if attempt.is_failure:
            changes["in_a_row"] = self.in_a_row + 1
            changes["first_failure"] = self.first_failure or attempt.when
        elif attempt.outcome != CANCELLED:
            changes |= {"in_a_row": 0, "first_failure": None, "last_success": attempt.when}
        return self.model_copy(update=changes)
