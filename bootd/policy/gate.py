"""What a gate is, and asking all of them.

A gate is one module in ``bootd/policy/gates``. Its eye may ask services over the bus; where one is
missing, the gate's own file says what that means. Its rule sees nothing but what the eye saw and
the time.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from bootd.model.config import Configuration
from bootd.model.documents import StatusDocument
from bootd.model.gate import Answer, GateVerdict
from bootd.policy import gates

_log = logging.getLogger(__name__)

_Seen = TypeVar("_Seen")


class AskBus(Protocol):
    """Calls a method on the system bus."""

    async def __call__(
        self, destination: str, path: str, member: str, signature: str = "", *arguments: Any
    ) -> list[Any]:
        """Return what it answers; `member` is interface and method, joined by a dot.

        Raises:
            BootdError: it does not answer, or with an error.
        """


@dataclass(frozen=True, slots=True)
class View:
    """What eyes can look at.

    Attributes:
        status: the machine.
        configuration: its settings.
        now: the time, UTC.
        zone: the machine's own time zone.
        ask: the bus; None: there is none.
        root: where ``/usr`` and ``/etc`` are looked up.
    """

    status: StatusDocument
    configuration: Configuration
    now: datetime
    zone: tzinfo
    ask: AskBus | None = None
    root: Path = Path("/")

    async def in_thread(self, work: Callable[[], _Seen]) -> _Seen:
        """Do something that takes a while, and return what comes of it."""
        return await get_running_loop().run_in_executor(None, work)

    @property
    def overdue(self) -> bool:
        """Whether what is staged, or boots next, has waited longer than the settings allow."""
        days = self.configuration.apply.deadline_days
        waiting = self.status.staged or self.status.queued
        return days is not None and any(
            one.created + timedelta(days=days) <= self.now
            for one in self.status.deployments
            if one.id == waiting
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says.

    Attributes:
        answer: whether it may be done.
        reason: why not, in words.
        until: when it is worth another look; None: that is not known.
    """

    answer: Answer
    reason: str = ""
    until: datetime | None = None


YES: Final = Verdict(Answer.YES)


@dataclass(frozen=True, slots=True)
class Gate(Generic[_Seen]):
    """One reason for which something may have to wait.

    Attributes:
        name: as ``why`` shows it.
        look: the eye.
        judge: the rule; it is given what the eye saw, and the time.
        hard: it counts after the deadline as well.
    """

    name: str
    look: Callable[[View], Awaitable[_Seen]]
    judge: Callable[[_Seen, datetime], Verdict]
    hard: bool = True


def all_gates() -> list[Gate[Any]]:
    """Return every gate, by its name."""
    modules = [
        importlib.import_module(f"{gates.__name__}.{module.name}")
        for module in pkgutil.iter_modules(gates.__path__)
    ]
    return sorted((module.GATE for module in modules), key=lambda gate: gate.name)


async def ask_gates(view: View) -> list[GateVerdict]:
    """Return what each gate says; one that fails is a fault, and says later."""
    return [await _asked(gate, view) for gate in all_gates()]


def in_the_way(verdicts: Sequence[GateVerdict]) -> GateVerdict | None:
    """Return the verdict that counts: a no before a later, and of those the one that takes longest.

    None: all say yes.
    """

    def weight(verdict: GateVerdict) -> tuple[bool, bool, float]:
        until = verdict.until
        return (
            verdict.answer is Answer.NO,
            until is not None,
            0.0 if until is None else until.timestamp(),
        )

    others = [verdict for verdict in verdicts if verdict.answer is not Answer.YES]
    return max(others, key=weight, default=None)


async def _asked(gate: Gate[Any], view: View) -> GateVerdict:
    try:
        verdict = gate.judge(await gate.look(view), view.now)
    except Exception:  # noqa: BLE001 - a gate that is broken must not let anything pass
        _log.exception("the gate %s cannot answer", gate.name)
        verdict = Verdict(Answer.LATER, "it cannot answer, which is a fault; the journal says more")
    if verdict.answer is Answer.LATER and not gate.hard and view.overdue:
        days = view.configuration.apply.deadline_days
        verdict = Verdict(Answer.YES, f"{verdict.reason}, for longer than {days} days")
    return GateVerdict(
        gate=gate.name, answer=verdict.answer, reason=verdict.reason, until=verdict.until
    )
