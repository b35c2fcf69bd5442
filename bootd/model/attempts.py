"""What became of the attempts to find and stage an update: absence of news is no good news."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bootd.model.digest import Digest
from bootd.model.readers import Guarded, Shown

MAX_ATTEMPTS: Final = 50
"""How many attempts are remembered."""


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

    @property
    def failing(self) -> FailingUpdates | None:
        """What a status says of it; None: the last attempt did not fail."""
        if not self.in_a_row or self.first_failure is None or not self.recent:
            return None
        return FailingUpdates(
            in_a_row=self.in_a_row,
            since=self.first_failure,
            last_success=self.last_success,
            last=self.recent[0],
        )

    def with_attempt(self, attempt: Attempt, *, failed: bool) -> Attempts:
        """Return the same after one more attempt."""
        changes = {
            "recent": [attempt, *self.recent][:MAX_ATTEMPTS],
            "in_a_row": self.in_a_row + 1 if failed else 0,
            "first_failure": (self.first_failure or attempt.when) if failed else None,
        }
        if not failed:
            changes["last_success"] = attempt.when
        return self.model_copy(update=changes)
