"""Gates: what each says to a restart that nobody asks for, and which of them counts."""

from __future__ import annotations

import os
import pkgutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.documents import STATUS

from bootd.daemon.machine import Machine
from bootd.model.config import ApplySettings, Configuration, Sessions
from bootd.model.errors import DaemonUnreachableError
from bootd.model.gate import Answer, GateVerdict
from bootd.model.state import DeploymentState
from bootd.policy import gate, gates
from bootd.policy.gate import (
    YES,
    AskBus,
    Gate,
    Verdict,
    View,
    all_gates,
    ask_gates,
    in_the_way,
)
from bootd.policy.gates import hold, inhibitors, load, power, scripts, sessions, window

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.fixture
def view(tmp_path: Path) -> View:
    """A machine with nothing in the way."""
    return View(Machine(tmp_path).status, Configuration(), NOW, UTC, root=tmp_path)


async def test_being_in_the_folder_is_all_it_takes(view: View):
    modules = {module.name for module in pkgutil.iter_modules(gates.__path__)}
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


def session(**facts: Any) -> dict[str, Any]:
    known = {"Name": "anna", "Class": "user", "State": "active", "TTY": "", "Remote": False}
    return {**known, "IdleHint": False, **facts}


def logind(*sessions: dict[str, Any]) -> AskBus:
    """Answer as logind does; a session that has no facts has ended since it was listed."""
    paths = {f"/session/{number}": one for number, one in enumerate(sessions)}

    async def ask(_destination: str, path: str, member: str, *_: Any) -> list[Any]:
        if member.endswith("ListSessions"):
            return [[["1", 1_000, "anna", "seat0", one] for one in paths]]
        if not paths[path]:
            raise DaemonUnreachableError("no such session")
        return [paths[path]]

    return ask


@pytest.mark.parametrize(
    ("sessions_seen", "wanted", "reason"),
    [
        ([session()], Sessions.ACTIVE, "anna at the screen"),
        ([session(TTY="tty2")], Sessions.ACTIVE, "anna on tty2"),
        ([session(Remote=True, TTY="pts/0")], Sessions.ACTIVE, "anna from afar"),
        ([session(IdleHint=True)], Sessions.ACTIVE, None),
        ([session(IdleHint=True)], Sessions.ANY, "anna at the screen"),
        ([session()], Sessions.IGNORE, None),
        ([session(State="closing")], Sessions.ANY, None),
        ([session(Class="greeter")], Sessions.ANY, None),
        ([session(Class="manager")], Sessions.ANY, None),
        ([session(Class="user-light")], Sessions.ANY, "anna at the screen"),
        ([{}, session(Name="bert")], Sessions.ACTIVE, "bert at the screen"),
        ([session()] * 7, Sessions.ANY, f"{', '.join(['anna at the screen'] * 5)} and 2 more"),
        ([], Sessions.ANY, None),
    ],
)
async def test_people_who_work_are_waited_for(
    view: View, sessions_seen: list[dict[str, Any]], wanted: Sessions, reason: str | None
):
    settings = Configuration(apply=ApplySettings(sessions=wanted))
    seen = replace(view, ask=logind(*sessions_seen), configuration=settings)
    verdict = sessions.judge(await sessions.look(seen), NOW)
    assert verdict.answer is (Answer.YES if reason is None else Answer.LATER)
    assert verdict.reason == ("" if reason is None else f"somebody is logged in: {reason}")


@pytest.mark.parametrize(
    ("whole", "battery", "needed", "answer"),
    [
        ({"OnBattery": True}, {"IsPresent": True, "Type": 2, "Percentage": 29.0}, 30, Answer.LATER),
        ({"OnBattery": True}, {"IsPresent": True, "Type": 2, "Percentage": 30.0}, 30, Answer.YES),
        ({"OnBattery": True}, {"IsPresent": True, "Type": 3, "Percentage": 5.0}, 30, Answer.LATER),
        ({"OnBattery": False}, {"IsPresent": True, "Type": 2, "Percentage": 1.0}, 30, Answer.YES),
        ({"OnBattery": True}, {"IsPresent": False, "Type": 2}, 30, Answer.YES),
        ({"OnBattery": True}, {"IsPresent": True, "Type": 8, "Percentage": 1.0}, 30, Answer.YES),
        ({"OnBattery": True}, {"IsPresent": True, "Type": 2, "Percentage": 1.0}, 0, Answer.YES),
        (None, {}, 30, Answer.YES),
    ],
)
async def test_a_battery_has_to_have_enough_left(
    view: View, whole: dict[str, Any] | None, battery: dict[str, Any], needed: int, answer: Answer
):
    async def ask(_destination: str, path: str, *_: Any) -> list[Any]:
        if whole is None:
            raise DaemonUnreachableError("there is no UPower")
        return [battery if path.endswith("DisplayDevice") else whole]

    settings = Configuration(apply=ApplySettings(battery=needed))
    seen = await power.look(replace(view, ask=ask, configuration=settings))
    assert power.judge(seen, NOW).answer is answer


async def test_a_busy_machine_is_waited_for_if_the_settings_say_so(
    view: View, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 3.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert load.judge(await load.look(view), NOW) == YES
    for most, answer in ((1.5, Answer.YES), (1.4, Answer.LATER)):
        settings = Configuration(apply=ApplySettings(load=most))
        seen = await load.look(replace(view, configuration=settings))
        assert load.judge(seen, NOW).answer is answer


@pytest.mark.parametrize(
    ("files", "answer", "reason"),
    [
        ({"usr/lib": {"10": "exit 0"}}, Answer.YES, ""),
        ({"usr/lib": {"10": "echo the kiln burns; exit 75"}}, Answer.LATER, "10: the kiln burns"),
        ({"usr/lib": {"10": "echo never >&2; exit 1"}}, Answer.NO, "10: never"),
        ({"usr/lib": {"10": "exit 3"}}, Answer.NO, "10: it ended with status 3"),
        ({"usr/lib": {"10": "exit 1"}, "etc": {"10": ""}}, Answer.YES, ""),
        ({"usr/lib": {"10": "exit 1"}, "etc": {"10": "exit 0"}}, Answer.YES, ""),
        ({"usr/lib": {"20": "exit 1"}, "etc": {"10": "exit 75"}}, Answer.LATER, "10: it ended"),
    ],
)
async def test_scripts_are_asked(
    view: View, files: dict[str, dict[str, str]], answer: Answer, reason: str
):
    for tree, scripts_there in files.items():
        for name, text in scripts_there.items():
            path = view.root / tree / scripts.FOLDER / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{text}\n" if text else "")
            path.chmod(0o755)
    verdict = scripts.judge(await scripts.look(view), NOW)
    assert (verdict.answer, verdict.reason[: len(reason)]) == (answer, reason)


async def test_a_script_without_an_end_is_not_waited_for(
    view: View, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scripts, "_SECONDS", 0.2)
    path = view.root / "etc" / scripts.FOLDER / "10"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\nsleep 600\n")
    path.chmod(0o755)
    verdict = scripts.judge(await scripts.look(view), NOW)
    assert verdict == Verdict(Answer.LATER, "10 did not end within 0.2 s")


@pytest.mark.parametrize(("days", "answer"), [(8, Answer.LATER), (7, Answer.YES), (1, Answer.YES)])
async def test_after_the_deadline_people_are_no_longer_waited_for(
    view: View, days: int, answer: Answer
):
    staged = STATUS.deployments[0].model_copy(update={"created": NOW - timedelta(days=7)})
    status = view.status.model_copy(
        update={"deployments": [staged], "staged": staged.id, "held_by": "exams"}
    )
    settings = Configuration(apply=ApplySettings(deadline_days=days))
    seen = replace(view, status=status, ask=logind(session()), configuration=settings)
    verdicts = {one.gate: one for one in await ask_gates(seen)}
    assert verdicts["sessions"].answer is answer
    assert verdicts["hold"].answer is Answer.NO
    waited = f", for longer than {days} days" if answer is Answer.YES else ""
    assert verdicts["sessions"].reason == f"somebody is logged in: anna at the screen{waited}"


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
