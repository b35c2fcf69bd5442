"""What runs is on trial: whether it is good has to be known before another one takes its place."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from bootd.model.gate import Answer
from bootd.model.state import DeploymentState
from bootd.policy.gate import YES, Gate, Verdict, View


async def look(view: View) -> bool:
    """Return whether the running deployment is on trial."""
    return any(one.booted and one.state is DeploymentState.TRIAL for one in view.status.deployments)


def judge(on_trial: bool, _now: datetime) -> Verdict:  # noqa: FBT001 - it is all that there is
    """Say later while it is."""
    if on_trial:
        return Verdict(Answer.LATER, "the running deployment has not proved itself yet")
    return YES


GATE: Final = Gate("trial", look, judge)
