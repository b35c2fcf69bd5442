"""Power cuts while derived files are made anew: in the end they are made, and no edit is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.machine import Machine, publish
from support.power import LOSSES, CutDisk, Loss, PowerCut

from bootd.durable import Disk
from bootd.operations.etc_derive import DUE_NAME, derive, derived_checks
from bootd.operations.fsck import fsck
from bootd.operations.progress import Silent


def _prepared(folder: Path) -> Machine:
    """A machine that has just started into a deployment with something to make."""
    folder.mkdir()
    machine = Machine(folder / "root", folder / "image")
    machine.folder.mkdir()
    # A rule is run where the deployment is, whichever folder the machine is in by then.
    script = 'cd "$(dirname "$LIST")" && cat list.d/* >list'
    rule = (
        "[derived.list]\npaths = ['/etc/list']\ninputs = ['/etc/list.d/**']\n"
        f"command = ['sh', '-c', {json.dumps(script)}]\n"
    )
    files: dict[str, bytes | str | None] = {
        "usr/bin/sh": b"#!",
        "usr/lib/bootd/": None,
        "usr/lib/bootd/etc.toml": rule.encode(),
        "etc/list.d/": None,
        "etc/list.d/a": b"from the image\n",
    }
    for version in ("v1", "v2"):
        publish(machine.image, version, bytes, **{**files, "etc/list": f"{version}\n".encode()})
        machine.upgrade()
        etc = machine.etc(machine.reboot())
        if version == "v1":
            (etc / "list.d/local").write_text("from here\n")
            (etc / "list").write_text("from the image\nfrom here\n")
    return machine


def _derive(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIST", str(_etc(machine) / "list"))
    derive(machine.host, starting=True)


def _etc(machine: Machine) -> Path:
    booted = machine.sysroot.booted()
    assert booted is not None
    return machine.etc(booted)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_cut_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: Loss) -> None:
    prepared = _prepared(tmp_path / "prepared")
    whole = prepared.copy(tmp_path / "whole/root", CutDisk(tmp_path / "whole/limbo"))
    _derive(whole, monkeypatch)
    assert isinstance(whole.disk, CutDisk)
    assert len(whole.disk.steps) > 5
    for cut in range(len(whole.disk.steps)):
        folder = tmp_path / str(cut)
        machine = prepared.copy(folder / "root", CutDisk(folder / "limbo", cut))
        assert isinstance(machine.disk, CutDisk)
        with pytest.raises(PowerCut):
            _derive(machine, monkeypatch)
        machine.disk.lose(loss)
        machine.disk = Disk()
        for _ in range(2):
            _derive(machine, monkeypatch)
        etc = _etc(machine)
        assert (etc / "list").read_text() == "from the image\nfrom here\n"
        assert (etc / "list.d/local").read_text() == "from here\n"
        assert not (etc.parent / DUE_NAME).exists()
        results = derived_checks(machine.sysroot, machine.sysroot.booted())
        assert [one.passed for one in results] == [True]
        assert fsck(machine.host, Silent()).damages == []
        shutil.rmtree(folder)
