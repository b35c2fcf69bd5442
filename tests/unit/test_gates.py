"""Gates: what each says to a restart that nobody asks for, and which of them counts."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.documents import STATUS

from bootd.daemon.machine import Machine
from bootd.model.config import ApplySettings, Configuration
from bootd.model.gate import Answer, GateVerdict
from bootd.model.state import DeploymentState
from bootd.policy import gate
from bootd.policy.gate import YES, Gate, View, all_gates, ask_gates, in_the_way
from bootd.policy.gates import hold, inhibitors, window

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.fixture
def view(tmp_path: Path) -> View:
    """A machine with nothing in the way."""
    return View(Machine(tmp_path).status, Configuration(), NOW, UTC)


async def test_being_in_the_folder_is_all_it_takes(view: View):
    modules = {module.name for module in pkgutil.iter_modules(gate.gates.__path__)}
    verdicts = await ask_gates(view)
    assert {one.gate for one in verdicts} == modules
    assert {one.answer for one in verdicts} == {Answer.YES}
    assert in_the_way(verdicts) is None


@pytest.mark.parametrize(
    ("until", "answer"),
    [
        (None, Answer.NO),
        (NOW + timedelta(days=1), Answer.LATER),
        (NOW, Answer.YES),
        (NOW - timedelta(days=1), Answer.YES),
    ],
)
async def test_a_hold_says_no_until_it_is_over(view: View, until: datetime | None, answer: Answer):
    status = view.status.model_copy(update={"held_by": "exams", "held_until": until})
    verdict = hold.judge(await hold.look(replace(view, status=status)), NOW)
    assert verdict.answer is answer
    if answer is not Answer.YES:
        assert (verdict.until, verdict.reason) == (until, "updates are held: exams")


@pytest.mark.parametrize(
    ("what", "mode", "answer"),
    [
        ("shutdown", "block", Answer.LATER),
        ("sleep:shutdown:idle", "block", Answer.LATER),
        ("shutdown", "delay", Answer.YES),
        ("shutdown", "block-weak", Answer.YES),
        ("sleep", "block", Answer.YES),
        ("", "", Answer.YES),
    ],
)
async def test_what_blocks_a_shutdown_inhibits(view: View, what: str, mode: str, answer: Answer):
    async def ask(*_: Any) -> list[Any]:
        return [[[what, "backup", "a nightly copy", mode, 0, 7]]]

    verdict = inhibitors.judge(await inhibitors.look(replace(view, ask=ask)), NOW)
    assert verdict.answer is answer
    if answer is Answer.LATER:
        assert verdict.reason == "something inhibits a reboot: backup (a nightly copy)"


async def test_outside_of_the_windows_it_waits_for_the_next(view: View):
    windows = ApplySettings(windows=["Sat 02:00 2h", "Wed 01:00 1h"])
    settings = view.configuration.model_copy(update={"apply": windows})
    seen = await window.look(replace(view, configuration=settings))
    verdict = window.judge(seen, NOW)
    assert verdict.answer is Answer.LATER
    assert verdict.until == datetime(2026, 12, 2, 1, tzinfo=UTC)
    assert window.judge(seen, verdict.until) == YES


async def test_what_runs_has_to_prove_itself_first(view: View):
    changes = {"booted": True, "state": DeploymentState.TRIAL}
    on_trial = [one.model_copy(update=changes) for one in STATUS.deployments[:1]]
    status = view.status.model_copy(update={"deployments": on_trial})
    verdict = in_the_way(await ask_gates(replace(view, status=status)))
    assert verdict is not None
    assert (verdict.gate, verdict.answer) == ("trial", Answer.LATER)


async def test_a_gate_that_is_broken_lets_nothing_pass(
    view: View, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def look(_view: View) -> None:
        raise RuntimeError("of all things")

    broken = Gate("broken", look, lambda _seen, _now: YES)
    monkeypatch.setattr(gate, "all_gates", lambda: [*all_gates(), broken])
    verdict = in_the_way(await ask_gates(view))
    assert verdict is not None
    assert (verdict.gate, verdict.answer) == ("broken", Answer.LATER)
    assert "the journal says more" in verdict.reason
    assert "RuntimeError: of all things" in caplog.text


def test_a_no_counts_first_and_then_what_takes_longest():
    def says(name: str, answer: Answer, days: int | None = None) -> GateVerdict:
        until = None if days is None else NOW + timedelta(days=days)
        return GateVerdict(gate=name, answer=answer, until=until)

    yes, soon, late = (
        says("a", Answer.YES),
        says("b", Answer.LATER, 1),
        says("c", Answer.LATER, 2),
    )
    some_time, never = says("d", Answer.LATER), says("e", Answer.NO)
    assert in_the_way([yes, some_time]) == some_time
    assert in_the_way([late, soon, some_time]) == late
    assert in_the_way([late, never, soon]) == never
