"""Somebody holds updates: the machine does not restart for one by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bootd.model.gate import Answer
from bootd.policy.gate import YES, Gate, Verdict, View


@dataclass(frozen=True, slots=True)
class Hold:
    """Who holds updates, and until when, if that is known."""

    by: str
    until: datetime | None


async def look(view: View) -> Hold | None:
    """Return the hold, if there is one."""
    by = view.status.held_by
    return None if by is None else Hold(by, view.status.held_until)


def judge(hold: Hold | None, now: datetime) -> Verdict:
    """Say no until the hold is released, or later if it has an end."""
    if hold is None or (hold.until is not None and hold.until <= now):
        return YES
    answer = Answer.NO if hold.until is None else Answer.LATER
    return Verdict(answer, f"updates are held: {hold.by}", hold.until)


GATE: Final = Gate("hold", look, judge)
