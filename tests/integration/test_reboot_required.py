"""``/run/reboot-required`` says what the status says, beside what others asked for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.documents import STATUS
from support.loader import set_variable
from support.machine import Machine, installed

from bootd.model.documents import StatusDocument
from bootd.operations.finalize import finalize
from bootd.operations.hold import hold, release
from bootd.operations.machine.reboot_required import asks_for_reboot, show_reboot_required
from bootd.operations.machine.staged import unstage
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.status import status

SOME = "abababababababab.1"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path)


def shown(machine: Machine) -> dict[str, list[str]]:
    """The files after the status is shown, with their lines."""
    show_reboot_required(machine.sysroot, status(machine.host))
    files = (machine.folder / "run").glob("reboot-required*")
    return {path.name: path.read_text().splitlines() for path in files}


def asked(machine: Machine) -> bool:
    files = shown(machine)
    assert files.keys() in (set(), {"reboot-required", "reboot-required.pkgs"})
    assert files.get("reboot-required.pkgs", ["bootd"]) == ["bootd"]
    return bool(files)


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ({}, False),
        ({"staged": SOME}, True),
        ({"queued": SOME}, True),
        ({"staged": SOME, "held_by": "me", "held_back": True}, False),
        ({"staged": SOME, "held_by": "me"}, True),
        ({"queued": SOME, "held_by": "me"}, True),
        ({"staged": SOME, "reboot_helps": False}, False),
        ({"queued": SOME, "reboot_helps": False}, False),
    ],
)
def test_when_a_restart_is_asked_for(known: dict[str, Any], wanted: bool) -> None:
    nothing = {"staged": None, "queued": None, "held_back": False, "reboot_helps": True}
    document = StatusDocument.model_validate({**STATUS.model_dump(), **nothing, **known})
    assert asks_for_reboot(document) is wanted


def test_it_follows_an_update_from_its_staging_to_its_boot(machine: Machine) -> None:
    assert not asked(machine)
    machine.upgrade()
    assert asked(machine)
    assert asked(machine)
    unstage(machine.host)
    assert not asked(machine)
    machine.upgrade()
    finalize(machine.host, Silent())
    assert asked(machine)
    machine.power_on()
    assert not asked(machine)


def test_a_hold_takes_it_away_and_its_release_brings_it_back(machine: Machine) -> None:
    machine.upgrade()
    assert asked(machine)
    hold(machine.host, "exams")
    assert not asked(machine)
    release(machine.host)
    assert asked(machine)


def test_a_restart_that_starts_something_else_is_not_asked_for(machine: Machine) -> None:
    found = take_survey(machine.sysroot)
    entry = found.entry(found.booted)
    assert entry is not None
    machine.upgrade()
    set_variable(machine.sysroot, "LoaderEntryDefault", entry.plain_name)
    assert not asked(machine)


def test_what_others_asked_for_stays(machine: Machine) -> None:
    run = machine.folder / "run"
    run.mkdir(exist_ok=True)
    theirs = "*** System restart required ***"
    (run / "reboot-required").write_text(f"{theirs}\n")
    (run / "reboot-required.pkgs").write_bytes(b"libc6\n\xff\n")
    before = {path.name: path.read_bytes() for path in run.glob("reboot-required*")}
    machine.upgrade()
    show_reboot_required(machine.sysroot, status(machine.host))
    lines = (run / "reboot-required.pkgs").read_bytes().splitlines()
    assert lines == [b"libc6", b"\xff", b"bootd"]
    assert (run / "reboot-required").read_text() == f"{theirs}\n"
    unstage(machine.host)
    show_reboot_required(machine.sysroot, status(machine.host))
    assert {path.name: path.read_bytes() for path in run.glob("reboot-required*")} == before


def test_a_file_of_others_without_a_list_stays(machine: Machine) -> None:
    run = machine.folder / "run"
    run.mkdir(exist_ok=True)
    (run / "reboot-required").touch()
    machine.upgrade()
    assert shown(machine)["reboot-required.pkgs"] == ["bootd"]
    unstage(machine.host)
    assert shown(machine) == {"reboot-required": []}


def _rollback(machine: Machine) -> list[str]:
    machine.upgrade()
    machine.reboot()
    return ["rollback"]


def _kernel_arguments(_: Machine) -> list[str]:
    return ["kargs", "add", "loglevel=3"]


@pytest.mark.parametrize("prepare", [_rollback, _kernel_arguments])
def test_it_is_there_without_a_daemon(
    prepare: Callable[[Machine], list[str]], machine: Machine
) -> None:
    words = prepare(machine)
    shutil.rmtree(machine.folder / "run", ignore_errors=True)
    # The journal's library keeps its socket open, so not in this process.
    program = "import sys; from bootd.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "--sysroot", machine.folder, "--quiet", *words]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert (machine.folder / "run/reboot-required").exists()
