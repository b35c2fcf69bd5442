"""A clock that is wrong for a boot makes nothing old, and nothing young for ever."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.machine import Machine, installed

from bootd.clock import Clock
from bootd.operations.collect import collect
from bootd.operations.etc_change import reset
from bootd.operations.etc_copies import copies
from bootd.operations.host import Host
from bootd.operations.machine.trusted_time import time_of_record
from bootd.operations.progress import Silent
from bootd.operations.recover import recover

TODAY = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=6)
"""Later than what the machine of each test was made at, by the real clock."""
THEN = datetime(1970, 1, 1, 0, 3, tzinfo=UTC)
FAR = datetime(2099, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Wrong(Clock):
    """A clock that says what it is told to say."""

    said: datetime = TODAY

    def now(self) -> datetime:
        return self.said


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path)


def at(machine: Machine, when: datetime, *, boot: str | None = None) -> Host:
    """The machine at a time, in another boot if one is named."""
    if boot is not None:
        (machine.folder / "proc/boot_id").write_text(boot)
    return replace(machine.host, clock=Wrong(when))


def edit(machine: Machine, when: datetime, text: str) -> None:
    booted = machine.sysroot.booted()
    assert booted is not None
    (machine.etc(booted) / "local.conf").write_text(text)
    assert reset(at(machine, when), Silent(), paths=["/etc/local.conf"]).kept_as is not None


def kept(machine: Machine) -> list[datetime]:
    return [copy.created for copy in copies(machine.host).copies]


@pytest.mark.parametrize("wrong", [THEN, FAR, TODAY + 400 * DAY, TODAY - 400 * DAY])
def test_one_wrong_boot_removes_nothing(machine: Machine, wrong: datetime) -> None:
    edit(machine, TODAY, "mine\n")
    for _ in range(3):
        collect(at(machine, wrong, boot="wrong"), Silent())
        recover(at(machine, wrong))
    assert kept(machine) == [TODAY]
    collect(at(machine, TODAY + DAY, boot="right"), Silent())
    assert kept(machine) == [TODAY]
    collect(at(machine, TODAY + 31 * DAY), Silent())
    assert kept(machine) == []


@pytest.mark.parametrize("wrong", [THEN, FAR])
def test_what_is_made_in_a_wrong_boot_lasts_as_long_as_anything(
    machine: Machine, wrong: datetime
) -> None:
    recover(at(machine, TODAY, boot="right"))
    at(machine, wrong, boot="wrong")
    edit(machine, wrong, "made then\n")
    assert kept(machine) == [TODAY]
    collect(at(machine, TODAY + 29 * DAY, boot="right again"), Silent())
    assert kept(machine) == [TODAY]
    collect(at(machine, TODAY + 31 * DAY), Silent())
    assert kept(machine) == []


def test_a_machine_that_was_off_for_years_is_believed_in_its_second_boot(machine: Machine) -> None:
    edit(machine, TODAY, "mine\n")
    for boot, left in (("first", 1), ("second", 0)):
        for _ in range(2):
            collect(at(machine, TODAY + 1_000 * DAY, boot=boot), Silent())
            assert len(kept(machine)) == left


def test_two_boots_that_are_wrong_each_in_its_way_are_not_believed(machine: Machine) -> None:
    edit(machine, TODAY, "mine\n")
    for boot, wrong in enumerate([FAR, TODAY + 800 * DAY, FAR, THEN, FAR + 999 * 365 * DAY]):
        collect(at(machine, wrong, boot=str(boot)), Silent())
        assert kept(machine) == [TODAY]


def test_a_store_that_kept_no_time_begins_with_its_deployments(machine: Machine) -> None:
    (machine.sysroot.store / "clock.json").unlink(missing_ok=True)
    edit(machine, TODAY, "mine\n")
    for record in (None, "", "{", '{"newest": "soon"}'):
        path = machine.sysroot.store / "clock.json"
        path.unlink(missing_ok=True)
        if record is not None:
            path.write_text(record)
        collect(at(machine, FAR, boot="wrong"), Silent())
        assert kept(machine) == [TODAY]


def test_a_deployment_from_a_wrong_boot_makes_nothing_old(machine: Machine) -> None:
    edit(machine, TODAY, "mine\n")
    (machine.sysroot.store / "clock.json").unlink()
    booted = machine.sysroot.booted()
    assert booted is not None
    record = machine.sysroot.read_deployment(booted).model_copy(update={"created": FAR})
    machine.sysroot.write_deployment(machine.sysroot.deployment(booted), record)
    collect(at(machine, TODAY + DAY, boot="right"), Silent())
    assert kept(machine) == [TODAY]


def test_time_never_goes_back(machine: Machine) -> None:
    said = [TODAY, TODAY + DAY, TODAY, THEN, TODAY + 2 * DAY, FAR, TODAY + 3 * DAY]
    found = [time_of_record(at(machine, when, boot=str(when))) for when in said]
    assert found == sorted(found)
    assert found[-1] == TODAY + 3 * DAY
