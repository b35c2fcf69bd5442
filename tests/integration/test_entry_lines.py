"""What an administrator writes into a boot entry is there after an upgrade and a rollback."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.machine import Machine, installed, publish

from bootd.boot.entry import BootEntry
from bootd.boot.entry_lines import LEFT_OUT
from bootd.boot.listing import list_entries
from bootd.model.deployment import DeploymentId
from bootd.operations.collect import collect
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.status import status


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path)


def entry_of(machine: Machine, deployment: DeploymentId) -> BootEntry:
    found = take_survey(machine.sysroot).entry(deployment)
    assert found is not None
    return found


def edit(machine: Machine, deployment: DeploymentId, old: str, new: str) -> None:
    """Change the text of a deployment's entry by hand."""
    name = entry_of(machine, deployment).file_name
    path = machine.sysroot.boot / "loader/entries" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def put(machine: Machine, *names: str) -> None:
    for name in names:
        path = machine.sysroot.boot / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 9)


def test_added_lines_survive_upgrades_blessing_fallback_and_rollback(machine: Machine) -> None:
    put(machine, "ucode.img", "fw.img", "dtb/board.dtb")
    first = machine.sysroot.booted()
    assert first is not None
    edit(machine, first, "initrd ", "initrd /ucode.img\ninitrd ")
    edit(
        machine,
        first,
        "options ",
        "initrd /fw.img\n# for the board\ndevicetree /dtb/board.dtb\nx-note a b\noptions nosmt ",
    )
    added = (("#", "for the board"), ("devicetree", "/dtb/board.dtb"), ("x-note", "a b"))

    def check(deployment: DeploymentId) -> None:
        entry = entry_of(machine, deployment)
        assert entry.initrds[::2] == ("/ucode.img", "/fw.img")
        assert entry.initrds[1] == entry.linux.replace("vmlinuz", "initrd")
        assert entry.extra == added
        assert "nosmt" in entry.arguments

    second = machine.upgrade()
    machine.reboot(healthy=False)
    check(second)
    assert machine.power_on() == second
    check(second)
    for version in ("v3", "v4"):
        publish(machine.image, version)
        third = machine.upgrade()
        machine.reboot(healthy=False)
        check(third)
        for _ in range(3):
            booted = machine.power_on(healthy=False)
        assert booted == second
    rollback(machine.host, Silent(), target=None)
    assert machine.reboot() != second
    check(machine.sysroot.booted() or second)


def test_a_rollback_takes_what_was_written_into_the_older_entry(machine: Machine) -> None:
    first = machine.sysroot.booted()
    assert first is not None
    machine.upgrade()
    machine.reboot()
    put(machine, "board.dtb")
    edit(machine, first, "options ", "devicetree /board.dtb\noptions rd.break ")
    rollback(machine.host, Silent())
    assert machine.reboot() == first
    assert entry_of(machine, first).extra == (("devicetree", "/board.dtb"),)
    assert "rd.break" in machine.sysroot.command_line.read_text()


def test_a_file_that_is_gone_stops_no_upgrade_and_is_told(machine: Machine) -> None:
    first = machine.sysroot.booted()
    assert first is not None
    put(machine, "ucode.img")
    edit(machine, first, "initrd ", "initrd /ucode.img\ninitrd ")
    assert status(machine.host).problems == []
    (machine.sysroot.boot / "ucode.img").unlink()
    [problem] = status(machine.host).problems
    assert "'initrd /ucode.img'" in problem
    second = machine.upgrade()
    assert machine.reboot() == second
    assert entry_of(machine, second).extra == ((LEFT_OUT, "initrd /ucode.img"),)
    problems = status(machine.host).problems
    assert [str(second) in one for one in problems] == [True, False]
    assert all("'initrd /ucode.img'" in one for one in problems)
    put(machine, "ucode.img")
    publish(machine.image, "v3")
    third = machine.upgrade()
    assert machine.reboot() == third
    entry = entry_of(machine, third)
    assert (entry.initrds[0], entry.extra) == ("/ucode.img", ())


def test_a_file_beside_an_old_kernel_stays_as_long_as_an_entry_names_it(machine: Machine) -> None:
    first = machine.sysroot.booted()
    assert first is not None
    kernel = entry_of(machine, first).linux.rpartition("/")[0]
    put(machine, f"{kernel.lstrip('/')}/board.dtb")
    edit(machine, first, "options ", f"devicetree {kernel}/board.dtb\noptions ")
    for version in ("v2", "v3", "v4"):
        publish(machine.image, version)
        booted = machine.upgrade()
        assert machine.reboot() == booted
        collect(machine.host, Silent())
    assert first not in take_survey(machine.sysroot).records
    assert entry_of(machine, booted).extra == (("devicetree", f"{kernel}/board.dtb"),)
    assert (machine.sysroot.boot / kernel.lstrip("/") / "board.dtb").is_file()
    assert len(list_entries(machine.sysroot).damaged) == 0
