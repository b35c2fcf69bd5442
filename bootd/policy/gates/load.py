"""The machine is busy: programs wait for its processors. Source: proc_loadavg(5)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bootd.model.gate import Answer
from bootd.policy.gate import YES, Gate, Verdict, View


@dataclass(frozen=True, slots=True)
class Load:
    """How many programs ran or waited for each processor, over five minutes, and how many may."""

    each: float
    most: float


async def look(view: View) -> Load | None:
    """Return the load; None: it does not matter."""
    most = view.configuration.apply.load
    if most is None:
        return None
    return Load(os.getloadavg()[1] / (os.cpu_count() or 1), most)


def judge(load: Load | None, _now: datetime) -> Verdict:
    """Say later while it is above what the settings allow."""
    if load is None or load.each <= load.most:
        return YES
    return Verdict(Answer.LATER, f"the load is {load.each:.1f} a processor, above {load.most:g}")


GATE: Final = Gate("load", look, judge, hard=False)
