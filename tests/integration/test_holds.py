"""What people decide stands: a hold, what was staged by hand, a rollback that has not booted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.machine import Machine, installed, publish

from bootd.clock import SYSTEM_CLOCK, Clock
from bootd.model.errors import HeldError, InvalidArgumentError, StagedByHandError
from bootd.operations import stage as stage_module
from bootd.operations.finalize import finalize
from bootd.operations.hold import ask_for_staged, hold, release
from bootd.operations.host import Host
from bootd.operations.machine.last_check import read_last_check
from bootd.operations.machine.staged import unstage
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Shifted(Clock):
    """A clock that is ahead, or behind."""

    by: timedelta

    def now(self) -> datetime:
        return SYSTEM_CLOCK.now() + self.by


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path)


def at(machine: Machine, by: timedelta) -> Host:
    """Return the machine with its clock wrong by that, or that much later."""
    return replace(machine.host, clock=Shifted(by))


def night(machine: Machine) -> bool:
    return stage(machine.host, Silent(), automatic=True).changed


def version(machine: Machine) -> str:
    [staged] = [one for one in status(machine.host).deployments if one.state == "staged"]
    return staged.image_version


def test_what_is_staged_waits_for_the_hold(machine: Machine) -> None:
    first, second = machine.sysroot.booted(), machine.upgrade()
    hold(machine.host, "exams")
    seen = status(machine.host)
    assert (seen.staged, seen.held_back, seen.reboot_helps) == (second, True, False)
    said = finalize(machine.host, Silent())
    assert (said.deployment, said.held_by) == (None, "exams")
    assert machine.power_on() == first
    assert machine.reboot() == first
    assert status(machine.host).staged == second
    release(machine.host)
    assert not status(machine.host).held_back
    assert machine.reboot() == second


@pytest.mark.parametrize(
    "ask",
    [
        lambda machine: ask_for_staged(machine.host),
        lambda machine: finalize(machine.host, Silent(), asked=True),
    ],
)
def test_what_is_asked_for_boots_in_spite_of_the_hold(
    machine: Machine, ask: Callable[[Machine], object]
) -> None:
    second = machine.upgrade()
    hold(machine.host, "exams")
    ask(machine)
    assert machine.reboot() == second


def test_what_a_person_stages_under_a_hold_boots_until_the_next_hold(machine: Machine) -> None:
    first = machine.sysroot.booted()
    hold(machine.host, "exams")
    second = machine.upgrade()
    assert not status(machine.host).held_back
    hold(machine.host, "exams")
    assert machine.reboot() == first
    ask_for_staged(machine.host)
    assert machine.reboot() == second


def test_a_hold_under_which_nothing_is_staged_lets_the_machine_shut_down(machine: Machine) -> None:
    hold(machine.host, "exams")
    assert finalize(machine.host, Silent()).held_by is None
    assert machine.reboot() == machine.sysroot.booted()


def test_a_held_machine_is_told_of_what_is_new(machine: Machine) -> None:
    hold(machine.host, "exams")
    with pytest.raises(HeldError, match="updates are held: exams"):
        night(machine)
    last = read_last_check(machine.sysroot)
    assert last is not None
    assert last.image_version == "v2"
    assert status(machine.host).staged is None


def test_a_hold_is_placed_and_lifted_whatever_is_done_at_the_time(machine: Machine) -> None:
    with machine.sysroot.lock(exclusive=True):
        hold(machine.host, "exams")
        assert status(machine.host).held_by == "exams"
        release(machine.host)
    with machine.sysroot.records_lock():
        hold(machine.host, "exams")


def test_a_hold_that_comes_during_a_run_is_obeyed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = stage_module._pull_and_compose

    def held_meanwhile(host: Host, *arguments: object) -> object:
        fetched = fetch(host, *arguments)  # type: ignore[arg-type]
        hold(host, "exams")
        return fetched

    monkeypatch.setattr(stage_module, "_pull_and_compose", held_meanwhile)
    with pytest.raises(HeldError, match="exams"):
        night(machine)
    assert status(machine.host).staged is None
    monkeypatch.undo()
    release(machine.host)
    assert night(machine)


def test_a_hold_at_the_last_moment_of_a_run_is_obeyed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = stage_module.mark_staged

    def held_before(*arguments: object, **more: object) -> None:
        hold(machine.host, "exams")
        mark(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(stage_module, "mark_staged", held_before)
    with pytest.raises(HeldError, match="exams"):
        night(machine)
    assert machine.sysroot.read_intent().staged is None
    assert machine.reboot() == machine.sysroot.booted()


def test_a_hold_ends_by_itself_and_is_not_written_off(machine: Machine) -> None:
    end = SYSTEM_CLOCK.now() + 3 * DAY
    first, second = machine.sysroot.booted(), machine.upgrade()
    hold(machine.host, "exams", until=end)
    seen = status(machine.host)
    assert (seen.held_by, seen.held_until) == ("exams", end)
    with pytest.raises(HeldError, match=rf"exams, until {end:%Y-%m-%d}"):
        night(machine)
    later = status(at(machine, 4 * DAY))
    assert (later.held_by, later.held_until, later.held_back) == (None, None, False)
    # A clock that was ahead for a while lifts nothing.
    assert status(machine.host).held_by == "exams"
    assert machine.reboot() == first
    finalize(at(machine, 4 * DAY), Silent())
    assert machine.power_on() == second


def test_who_holds_updates_may_give_the_hold_another_end(machine: Machine) -> None:
    end = SYSTEM_CLOCK.now() + DAY
    hold(machine.host, "exams", until=end)
    hold(machine.host, "exams", until=end + DAY)
    assert status(machine.host).held_until == end + DAY
    with pytest.raises(HeldError, match="held already: exams, until"):
        hold(machine.host, "rack move")
    hold(machine.host, "exams")
    assert status(at(machine, 900 * DAY)).held_by == "exams"
    hold(machine.host, "exams", until=end)
    hold(at(machine, 2 * DAY), "rack move")
    assert status(at(machine, 2 * DAY)).held_by == "rack move"


@pytest.mark.parametrize("by", [timedelta(), -DAY, 11 * 366 * DAY])
def test_a_hold_needs_an_end_to_come(machine: Machine, by: timedelta) -> None:
    before = machine.sysroot.read_intent()
    with pytest.raises(InvalidArgumentError, match="a hold cannot end at"):
        hold(machine.host, "exams", until=SYSTEM_CLOCK.now() + by)
    assert machine.sysroot.read_intent() == before


def test_a_hold_of_an_older_bootd_holds(machine: Machine) -> None:
    intent = json.loads(machine.sysroot.intent_file.read_text())
    known = {"format", "image", "staged", "finalize_failure", "awaited"}
    old = {key: value for key, value in intent.items() if key in known}
    machine.sysroot.intent_file.write_text(json.dumps({**old, "held_by": "exams"}))
    with pytest.raises(HeldError, match="exams"):
        night(machine)


def test_the_timer_keeps_what_a_person_staged_of_another_image(
    machine: Machine, tmp_path: Path
) -> None:
    hotfix = publish(tmp_path / "hotfix", "hotfix")
    stage(machine.host, Silent(), reference=hotfix)
    for published in ("v2", "v3", "v1"):
        # The last is what runs, of which a run that finds it would drop what is staged.
        publish(machine.image, published)
        with pytest.raises(StagedByHandError, match="hotfix was staged by hand"):
            night(machine)
        assert version(machine) == "hotfix"
    last = read_last_check(machine.sysroot)
    assert last is not None
    assert last.image_version == "v1"
    unstage(machine.host)
    publish(machine.image, "v2")
    assert night(machine)
    assert version(machine) == "v2"


def test_the_timer_keeps_what_came_from_a_stick(machine: Machine, tmp_path: Path) -> None:
    stick = publish(tmp_path / "stick", "v5").removesuffix(":latest")
    stage(machine.host, Silent(), taken_from=stick)
    with pytest.raises(StagedByHandError):
        night(machine)
    assert version(machine) == "v5"
    publish(machine.image, "v6")
    assert machine.upgrade()
    assert version(machine) == "v6"


def test_a_newer_one_of_the_followed_image_replaces_a_persons_and_says_so(
    machine: Machine,
) -> None:
    staged = machine.upgrade()
    publish(machine.image, "v3")
    assert night(machine)
    assert version(machine) == "v3"
    told = status(machine.host).replaced
    assert told is not None
    assert f"v2, staged as {staged}" in told
    publish(machine.image, "v4")
    machine.upgrade()
    assert status(machine.host).replaced is None


def test_the_timers_own_is_replaced_without_a_word(machine: Machine) -> None:
    assert night(machine)
    publish(machine.image, "v3")
    assert night(machine)
    seen = status(machine.host)
    assert (version(machine), seen.replaced, seen.staged_by_hand) == ("v3", None, False)


def test_the_timer_does_not_overtake_a_rollback_that_has_not_booted(machine: Machine) -> None:
    machine.upgrade()
    machine.reboot()
    target = rollback(machine.host, Silent()).deployment
    assert status(machine.host).queued_by_hand
    publish(machine.image, "v3")
    with pytest.raises(StagedByHandError, match="made to boot next by hand"):
        night(machine)
    assert machine.reboot() == target
    assert night(machine)
