"""An image is called available only while there is something to get."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.machine import Machine, installed, publish

from bootd.cli.render.explanation import render_explanation
from bootd.cli.render.status import next_steps, render_plainly, render_status
from bootd.cli.style import Style
from bootd.daemon.dbus.property_values import available_value, last_check_value
from bootd.model.config import Automatic
from bootd.model.documents import Standing
from bootd.model.errors import ContentError
from bootd.operations.check import check
from bootd.operations.explain import explain
from bootd.operations.finalize import finalize
from bootd.operations.image.unfit_list import find_unfit
from bootd.operations.machine.staged import unstage
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.status import status
from bootd.operations.trial.deny import allow, deny

LINES = {
    Standing.NEW: "Available",
    Standing.BOOTED: "Up to date",
    Standing.STAGED: "Up to date",
    Standing.QUEUED: "Up to date",
    Standing.DENIED: "Refused",
    Standing.UNFIT: "Refused",
    Standing.NOT_FOLLOWED: None,
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path)


def standing(machine: Machine) -> Standing:
    """What the image that was looked up last is, as every face of the status agrees."""
    document = status(machine.host)
    available = document.available
    assert available is not None
    new = available.standing is Standing.NEW
    assert available.update is new
    assert bool(available_value(available)) is new
    assert last_check_value(available)["standing"].value == available.standing
    assert ("bootctl-py upgrade" in dict(next_steps(document))) is new
    page = render_status(document, Style())
    assert page == render_plainly(document.model_dump(mode="json"), Style())
    told = explain(document, None, Automatic.STAGE)
    for text in (page, render_explanation(told, Style())):
        names = {name for name in LINES.values() if name and f"\n{name}  " in text}
        assert names == {name for name in (LINES[available.standing],) if name}
    return available.standing


def test_it_is_new_until_it_is_staged_and_again_when_that_is_dropped(machine: Machine) -> None:
    check(machine.host, Silent())
    assert standing(machine) is Standing.NEW
    machine.upgrade()
    assert standing(machine) is Standing.STAGED
    unstage(machine.host)
    assert standing(machine) is Standing.NEW


def test_what_boots_next_and_what_runs_is_not_to_be_had(machine: Machine) -> None:
    machine.upgrade()
    finalize(machine.host, Silent())
    assert standing(machine) is Standing.QUEUED
    machine.power_on()
    assert standing(machine) is Standing.BOOTED
    publish(machine.image, "v3")
    check(machine.host, Silent())
    assert standing(machine) is Standing.NEW


def test_what_somebody_went_back_from_is_refused_until_it_is_allowed(machine: Machine) -> None:
    machine.upgrade()
    machine.reboot()
    rollback(machine.host, Silent())
    machine.power_on()
    assert standing(machine) is Standing.DENIED
    last = status(machine.host).available
    assert last is not None
    allow(machine.host, last.digest)
    assert standing(machine) is Standing.NEW


def test_what_failed_is_refused(machine: Machine) -> None:
    found = check(machine.host, Silent())
    deny(machine.host, found.digest, "boot-failed")
    assert standing(machine) is Standing.DENIED
    assert find_unfit(machine.sysroot, found.digest) is None


def test_what_no_host_can_use_is_refused(machine: Machine) -> None:
    kernel = "usr/lib/modules/6.12.0-test/vmlinuz"
    publish(machine.image, "v2", **{kernel: None})
    with pytest.raises(ContentError, match="vmlinuz"):
        machine.upgrade()
    check(machine.host, Silent())
    assert standing(machine) is Standing.UNFIT


def test_what_another_reference_had_says_nothing(machine: Machine) -> None:
    check(machine.host, Silent())
    intent = machine.sysroot.read_intent()
    machine.sysroot.write_intent(intent.model_copy(update={"image": "registry.example/os:2"}))
    assert standing(machine) is Standing.NOT_FOLLOWED
    assert take_survey(machine.sysroot).booted is not None
