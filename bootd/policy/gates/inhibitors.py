"""A program inhibits a shutdown through logind, such as a backup that runs.

Only what blocks counts. What merely delays is waited for by logind itself, for a few seconds. Where
there is no logind, nothing inhibits. Source: org.freedesktop.login1(5), ``ListInhibitors``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bootd.model.errors import BootdError
from bootd.model.gate import Answer
from bootd.policy.gate import YES, Gate, Verdict, View

_LOGIND: Final = "org.freedesktop.login1"
_MOST_NAMED: Final = 5
_MOST_TEXT: Final = 200


@dataclass(frozen=True, slots=True)
class Inhibitor:
    """What is inhibited, by whom, why and how."""

    what: frozenset[str]
    who: str
    why: str
    mode: str


async def look(view: View) -> list[Inhibitor]:
    """Return what logind lists; nothing where it does not answer."""
    if view.ask is None:
        return []
    try:
        [listed] = await view.ask(
            _LOGIND, "/org/freedesktop/login1", f"{_LOGIND}.Manager.ListInhibitors"
        )
    except BootdError:
        return []
    return [
        Inhibitor(frozenset(what.split(":")), who[:_MOST_TEXT], why[:_MOST_TEXT], mode)
        for what, who, why, mode, *_ in listed
    ]


def judge(inhibitors: list[Inhibitor], _now: datetime) -> Verdict:
    """Say later while something blocks a shutdown."""
    blocking = [one for one in inhibitors if one.mode == "block" and "shutdown" in one.what]
    if not blocking:
        return YES
    named = ", ".join(f"{one.who} ({one.why})" for one in blocking[:_MOST_NAMED])
    return Verdict(Answer.LATER, f"something inhibits a reboot: {named}")


GATE: Final = Gate("inhibitors", look, judge)
