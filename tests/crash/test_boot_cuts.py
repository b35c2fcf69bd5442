"""The power goes while the boot loader is renewed, or while what ``$BOOT`` lost is put back.

Each name of a loader stands for a whole one at every cut, the old or the new one; kernels and
entries that were whole stay so; and what was cut off is taken up at the next start.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.installing import installable_image
from support.loader import boot
from support.loader_program import systemd_boot
from support.machine import Machine
from support.power import LOSSES, CutDisk, Loss, PowerCut

from bootd.boot.kernels.kernel import kernel_damage
from bootd.durable import TEMPORARY_PREFIX, Disk
from bootd.operations.bless import bless
from bootd.operations.fsck import fsck
from bootd.operations.install import install
from bootd.operations.install_settings import Settings
from bootd.operations.installing.target import RootFileSystem
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.recover import recover

IMAGE_LOADER = "usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed"
NAMES = ("EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI")
PREVIOUS = "EFI/bootd/systemd-bootx64-previous.efi"
OLD, NEW = systemd_boot("257"), systemd_boot("258")


@pytest.fixture(autouse=True)
def x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def installed(folder: Path) -> Machine:
    """It runs v1, and v2 with another loader is published."""
    machine = Machine(folder / "root", folder / "image")
    (machine.folder / "boot").mkdir(parents=True)
    installable_image(machine.image, "v1", **{IMAGE_LOADER: OLD})
    root = RootFileSystem("ext4", "1234")
    install(machine.host, root, Settings(image=machine.reference), Silent())
    machine.power_on()
    installable_image(machine.image, "v2", **{IMAGE_LOADER: NEW})
    machine.upgrade()
    return machine


def loaders(machine: Machine) -> list[bytes]:
    return [(machine.folder / "boot" / name).read_bytes() for name in NAMES]


def contents(machine: Machine) -> dict[str, bytes]:
    top = machine.folder / "boot"
    return {
        str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()
    }


def leftovers(machine: Machine) -> list[Path]:
    return list(machine.folder.rglob(f"{TEMPORARY_PREFIX}*"))


def steps_of(machine: Machine, folder: Path, act: Callable[[Machine], object]) -> list[str]:
    disk = CutDisk(folder / "limbo")
    act(machine.copy(folder / "root", disk))
    assert disk.steps
    return disk.steps


def cut(
    machine: Machine, folder: Path, number: int, loss: Loss, act: Callable[[Machine], object]
) -> Machine:
    disk = CutDisk(folder / "limbo", number)
    doomed = machine.copy(folder / "root", disk)
    with pytest.raises(PowerCut):
        act(doomed)
    disk.lose(loss)
    return Machine(doomed.folder, machine.image, Disk(), machine.configuration)


def do_bless(machine: Machine) -> None:
    bless(machine.host)


def do_recover(machine: Machine) -> None:
    recover(machine.host)


def do_fsck(machine: Machine) -> None:
    fsck(machine.host, Silent())


@pytest.mark.parametrize("loss", LOSSES)
def test_each_name_holds_a_whole_loader_while_it_is_renewed(tmp_path: Path, loss: Loss) -> None:
    machine = installed(tmp_path / "prepared")
    machine.reboot(healthy=False)
    steps = steps_of(machine, tmp_path / "whole", do_bless)
    assert any("BOOTX64.EFI" in step for step in steps)
    for number, step in enumerate(steps):
        scene = f"{loss}, before step {number}: {step}"
        survivor = cut(machine, tmp_path / "cut", number, loss, do_bless)
        assert all(data in (OLD, NEW) for data in loaders(survivor)), scene
        for record in take_survey(survivor.sysroot).records.values():
            assert kernel_damage(survivor.sysroot, record.kernel) is None, scene
        survivor.power_on()
        assert loaders(survivor) == [NEW, NEW], scene
        assert (survivor.folder / "boot" / PREVIOUS).read_bytes() == OLD, scene
        assert not leftovers(survivor), scene
        assert not fsck(survivor.host, Silent(), repair=False).damages, scene
        shutil.rmtree(tmp_path / "cut")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("act", [do_recover, do_fsck])
def test_every_cut_of_a_repair_can_be_taken_up(
    tmp_path: Path, act: Callable[[Machine], object], loss: Loss
) -> None:
    machine = installed(tmp_path / "prepared")
    machine.reboot()
    machine.power_on()
    before = contents(machine)
    kept = _lose_half(machine)
    steps = steps_of(machine, tmp_path / "whole", act)
    for number, step in enumerate(steps):
        scene = f"{loss}, before step {number}: {step}"
        survivor = cut(machine, tmp_path / "cut", number, loss, act)
        there = contents(survivor)
        assert {name: there.get(name) for name in kept} == {name: before[name] for name in kept}, (
            scene
        )
        act(survivor)
        assert contents(survivor) == before, scene
        assert not leftovers(survivor), scene
        assert not fsck(survivor.host, Silent(), repair=False).damages, scene
        boot(survivor.sysroot)
        shutil.rmtree(tmp_path / "cut")


def _lose_half(machine: Machine) -> list[str]:
    """Lose a kernel, an initramfs, an entry and a loader; return the names of what is left."""
    top = machine.folder / "boot"
    first, second = sorted((top / "bootd").iterdir())
    shutil.rmtree(first)
    (second / "initrd").unlink()
    entry, _ = sorted((top / "loader/entries").iterdir())
    entry.unlink()
    (top / NAMES[0]).unlink()
    return list(contents(machine))
