"""Power cuts while the running ``/etc`` is changed, carried along, or copied away.

At any cut every edit that an administrator made is in an ``/etc`` or in a copy that can be
restored, and doing the same again ends where it would have ended without the cut.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.machine import Machine, installed, publish
from support.power import LOSSES, CutDisk, Loss, PowerCut, cut_disk

from bootd.durable import TEMPORARY_PREFIX, Disk
from bootd.etc.disk.archive import opened_archive
from bootd.model.etc.change import Undecided
from bootd.model.tree import RegularFile
from bootd.operations.collect import collect
from bootd.operations.etc.undecided import read_undecided
from bootd.operations.etc_change import reset, resolve, restore
from bootd.operations.etc_copies import archive_path, copies
from bootd.operations.fsck import fsck
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback

LONG = "an edit that is longer than what is kept inline\n" * 3


@dataclass(frozen=True)
class Operation:
    """How the machine came to where it is, what is done to it, and the edits it had then."""

    prepare: Callable[[Path], Machine]
    act: Callable[[Machine], object]
    edits: tuple[str, ...]


def _etc(machine: Machine) -> Path:
    booted = machine.sysroot.booted()
    assert booted is not None
    return machine.etc(booted)


def _clashing(folder: Path) -> Machine:
    machine = installed(folder)
    (_etc(machine) / "app.conf").write_text("app " + LONG)
    (_etc(machine) / "d").mkdir()
    (_etc(machine) / "d/inside").write_text("inside " + LONG)
    machine.upgrade()
    machine.reboot()
    (_etc(machine) / "motd").unlink()
    (_etc(machine) / "motd").mkdir()
    (_etc(machine) / "motd/inside").write_text("motd " + LONG)
    return machine


def _after_reset(folder: Path) -> Machine:
    machine = _clashing(folder)
    _reset(machine)
    (_etc(machine) / "app.conf").write_text("second " + LONG)
    return machine


def _three_deep(folder: Path) -> Machine:
    machine = installed(folder)
    (_etc(machine) / "only-here").write_text("only here " + LONG)
    for version in ("v2", "v3"):
        publish(machine.image, version)
        machine.upgrade()
        machine.reboot()
        (_etc(machine) / "only-here").unlink(missing_ok=True)
    return machine


def _reset(machine: Machine) -> object:
    paths = ["/etc/app.conf", "/etc/d", "/etc/motd", "/etc/hostname"]
    return reset(machine.host, Silent(), paths=paths)


def _resolve(machine: Machine) -> object:
    if not any(one.conflict.path == "/etc/app.conf" for one in _undecided(machine)):
        return None
    return resolve(machine.host, Silent(), path="/etc/app.conf", choice="theirs")


def _undecided(machine: Machine) -> list[Undecided]:
    booted = machine.sysroot.booted()
    assert booted is not None
    return list(read_undecided(machine.sysroot, booted).conflicts)


def _restore(machine: Machine) -> object:
    return restore(machine.host, Silent(), copy=f"{machine.sysroot.booted()}-1")


def _carry(machine: Machine) -> object:
    first = next(r.id for r in take_survey(machine.sysroot).records.values() if r.version == "v1")
    return rollback(machine.host, Silent(), target=first, carry_etc=True)


OPERATIONS = {
    "reset": Operation(_clashing, _reset, ("app ", "inside ", "motd ", "my-machine")),
    "resolve": Operation(_clashing, _resolve, ("app ", "inside ", "my-machine")),
    "restore": Operation(_after_reset, _restore, ("app ", "inside ", "motd ", "second ")),
    "carry": Operation(_clashing, _carry, ("app ", "inside ", "motd ", "my-machine")),
    "collect": Operation(_three_deep, lambda m: collect(m.host, Silent()), ("only here ",)),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_cut_keeps_every_edit(name: str, loss: Loss, tmp_path: Path) -> None:
    operation = OPERATIONS[name]
    machine = operation.prepare(tmp_path / "prepared")
    whole = machine.copy(tmp_path / "whole/root", CutDisk(tmp_path / "whole/limbo"))
    operation.act(whole)
    steps = list(cut_disk(whole).steps)
    assert steps
    whole.power_on()
    expected = _outcome(whole)
    for cut in range(len(steps)):
        scene = f"{name}, {loss}, before step {cut}: {steps[cut]}"
        folder = tmp_path / "cut"
        doomed = machine.copy(folder / "root", CutDisk(folder / "limbo", cut))
        with pytest.raises(PowerCut):
            operation.act(doomed)
        cut_disk(doomed).lose(loss)
        survivor = Machine(doomed.folder, machine.image, Disk(), machine.configuration)
        survivor.power_on()
        _check_edits(survivor, operation.edits, scene)
        operation.act(survivor)
        survivor.power_on()
        _check_edits(survivor, operation.edits, scene)
        assert _outcome(survivor) == expected, scene
        assert not list(survivor.folder.rglob(TEMPORARY_PREFIX + "*")), scene
        assert not fsck(survivor.host, Silent(), repair=False).damages, scene
        shutil.rmtree(folder)


def _check_edits(machine: Machine, edits: tuple[str, ...], scene: str) -> None:
    found = [
        path.read_text(errors="replace")
        for etc in machine.sysroot.deployments.glob("*/etc")
        for path in etc.rglob("*")
        if path.is_file()
    ]
    for copy in copies(machine.host).copies:
        with opened_archive(archive_path(machine.host, copy.name), machine.folder) as archive:
            for node in archive.entries.values():
                if isinstance(node, RegularFile):
                    with os.fdopen(archive.open(node)) as stream:
                        found.append(stream.read())
    for edit in edits:
        assert any(text.startswith(edit) for text in found), (scene, edit)


def _outcome(machine: Machine) -> object:
    """What every /etc holds, and what boots."""
    trees = {
        etc.parent.name: {
            str(path.relative_to(etc)): path.read_text() if path.is_file() else path.is_dir()
            for path in sorted(etc.rglob("*"))
        }
        for etc in machine.sysroot.deployments.glob("*/etc")
    }
    return trees, take_survey(machine.sysroot).next_boot, len(_undecided(machine))
