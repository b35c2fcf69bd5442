"""Somebody works on the machine: at its screen, at a console, or over SSH.

logind knows sessions and which of them are idle: a desktop says so itself, and a terminal that
nobody typed at for half an hour counts as idle (logind.conf(5), ``IdleActionSec=``). Where there is
no logind, nobody is known to work. Source: org.freedesktop.login1(5), "Session Objects".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bootd.model.config import Sessions
from bootd.model.errors import BootdError
from bootd.model.gate import Answer
from bootd.policy.gate import YES, Gate, Verdict, View

_LOGIND: Final = "org.freedesktop.login1"
_PATH: Final = "/org/freedesktop/login1"
_MOST_ASKED: Final = 64
"""More sessions than that are somebody's work for certain, whatever the rest of them does."""
_MOST_NAMED: Final = 5
_MOST_TEXT: Final = 100
_OF_PEOPLE: Final = "user"
"""How the classes of their sessions begin; ``greeter`` and ``manager`` are those of programs."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session of a person's.

    Attributes:
        user: who.
        place: where: ``at seat0``, ``on tty2``, ``from afar``.
        idle: nothing happened in it for a while.
    """

    user: str
    place: str
    idle: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What the settings ask for, and the sessions that there are."""

    wanted: Sessions
    sessions: tuple[Session, ...]


async def look(view: View) -> Seen:
    """Return the sessions that logind lists; none where it does not answer."""
    wanted = view.configuration.apply.sessions
    if view.ask is None or wanted is Sessions.IGNORE:
        return Seen(wanted, ())
    try:
        [listed] = await view.ask(_LOGIND, _PATH, f"{_LOGIND}.Manager.ListSessions")
    except BootdError:
        return Seen(wanted, ())
    sessions = [await _session(view, path) for *_, path in listed[:_MOST_ASKED]]
    return Seen(wanted, tuple(one for one in sessions if one is not None))


def judge(seen: Seen, _now: datetime) -> Verdict:
    """Say later while somebody works, or, if the settings want that, is logged in at all."""
    kept = [one for one in seen.sessions if seen.wanted is Sessions.ANY or not one.idle]
    if not kept or seen.wanted is Sessions.IGNORE:
        return YES
    named = ", ".join(f"{one.user} {one.place}" for one in kept[:_MOST_NAMED])
    more = f" and {len(kept) - _MOST_NAMED} more" if len(kept) > _MOST_NAMED else ""
    return Verdict(Answer.LATER, f"somebody is logged in: {named}{more}")


async def _session(view: View, path: str) -> Session | None:
    assert view.ask is not None
    session = f"{_LOGIND}.Session"
    properties = "org.freedesktop.DBus.Properties.GetAll"
    try:
        [told] = await view.ask(_LOGIND, path, properties, "s", session)
    except BootdError:
        # It has ended since it was listed.
        return None
    facts = {name: getattr(value, "value", value) for name, value in told.items()}
    if not _text(facts, "Class").startswith(_OF_PEOPLE) or _text(facts, "State") == "closing":
        return None
    return Session(_text(facts, "Name"), _place(facts), bool(facts.get("IdleHint", False)))


def _place(facts: Mapping[str, Any]) -> str:
    if facts.get("Remote", False):
        return "from afar"
    terminal = _text(facts, "TTY")
    return f"on {terminal}" if terminal else "at the screen"


def _text(facts: Mapping[str, Any], name: str) -> str:
    return str(facts.get(name, ""))[:_MOST_TEXT]


GATE: Final = Gate("sessions", look, judge, hard=False)
