"""Maintenance windows: where there are some, the machine restarts by itself in them alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from bootd.model.gate import Answer
from bootd.model.window import Window, open_until, opens_at, parse_window
from bootd.policy.gate import YES, Gate, Verdict, View


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows, and the machine's own time zone."""

    windows: tuple[Window, ...]
    zone: tzinfo


async def look(view: View) -> Windows:
    """Return the windows of the settings."""
    return Windows(tuple(map(parse_window, view.configuration.apply.windows)), view.zone)


def judge(seen: Windows, now: datetime) -> Verdict:
    """Say later outside of all windows."""
    if not seen.windows or open_until(seen.windows, now, seen.zone) is not None:
        return YES
    begin = opens_at(seen.windows, now, seen.zone)
    return Verdict(Answer.LATER, "no maintenance window is open", begin)


GATE: Final = Gate("window", look, judge)
