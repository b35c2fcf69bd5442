"""The power goes before every step of every operation, and may take what was not synced with it.

The invariant: at any cut there is an entry that boots a complete deployment, the booted deployment
is intact, and no edit of ``/etc`` is lost. Besides, doing the same again ends where it would have
ended without the cut.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.boot_tree import deployment_id
from support.chunked import zstd_chunked
from support.loader import boot
from support.machine import Machine, installed, publish
from support.power import LOSSES, CutDisk, Loss, PowerCut, cut_disk
from support.small_boot import limit_boot, release

from bootd.boot.kernels.kernel import kernel_damage
from bootd.durable import TEMPORARY_PREFIX, Disk
from bootd.model.deployment import DeploymentId
from bootd.model.errors import DeniedDigestError, InvalidTreeError, NoSuchDeploymentError
from bootd.model.hash_algorithm import SHA256
from bootd.operations.bless import bless, leave_undecided
from bootd.operations.collect import collect
from bootd.operations.finalize import finalize
from bootd.operations.forget import forget
from bootd.operations.fsck import fsck
from bootd.operations.kernel_arguments import change_arguments
from bootd.operations.machine.staged import unstage
from bootd.operations.machine.survey import take_survey
from bootd.operations.pin import pin
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.trial.deny import allow, deny
from bootd.operations.trial.health import run_health
from bootd.operations.upgrade.arguments import coming_arguments
from bootd.store.images.image import all_images
from bootd.store.objects.measuring import measure
from bootd.store.upkeep.collect import has_unneeded_layers

SAME = random.Random(1).randbytes(150_000)
_INITRAMFS = 200 << 10
_FOR_TWO = 700 << 10
EDITS = {"hostname": "my-machine\n", "local.conf": "mine\n" * 30}


@dataclass(frozen=True)
class Operation:
    """What is cut: how the machine came to where it is, and what is done to it.

    `boot_size` is that of ``$BOOT``; None: there is room for whatever comes.
    """

    prepare: Callable[[Path], Machine]
    act: Callable[[Machine], object]
    boot_size: int | None = None


def _staged(folder: Path) -> Machine:
    machine = installed(folder)
    machine.upgrade()
    return machine


def _on_trial(folder: Path) -> Machine:
    machine = _staged(folder)
    machine.reboot(healthy=False)
    return machine


def _upgraded(folder: Path) -> Machine:
    machine = _staged(folder)
    machine.reboot()
    return machine


def _upgraded_and_staged(folder: Path) -> Machine:
    machine = _upgraded(folder)
    publish(machine.image, "v3")
    machine.upgrade()
    return machine


def _to_be_changed(folder: Path) -> Machine:
    """The newest version runs, its entry has lines of somebody, and the settings ask for more."""
    machine = _upgraded(folder)
    entry = take_survey(machine.sysroot).entries[0]
    path = machine.sysroot.boot / "loader/entries" / entry.file_name
    path.write_text(
        path.read_text().replace("initrd ", "initrd /ucode.img\ninitrd ", 1) + "x-a b\n"
    )
    (machine.sysroot.boot / "ucode.img").write_bytes(b"microcode")
    settings = {"kernel_arguments": ["console=ttyS0"]}
    machine.configuration = machine.configuration.model_copy(update=settings)
    return machine


def _changed(folder: Path) -> Machine:
    """The running version is staged once more, with another argument."""
    machine = _to_be_changed(folder)
    _add_argument(machine)
    return machine


def _changed_and_running(folder: Path) -> Machine:
    machine = _changed(folder)
    machine.reboot()
    return machine


def _three_deep(folder: Path) -> Machine:
    machine = _upgraded_and_staged(folder)
    machine.reboot()
    publish(machine.image, "v4")
    machine.upgrade()
    machine.reboot()
    return machine


def _full(folder: Path) -> Machine:
    """Two kernels are all that there is room for, and a third version is staged."""
    machine = Machine(folder / "root", folder / "image")
    machine.folder.mkdir(parents=True)
    machine.configuration = machine.configuration.model_copy(update={"keep_deployments": 3})
    for version in ("v1", "v2", "v3"):
        release(machine, version, _INITRAMFS)
        machine.upgrade()
        if version != "v3":
            booted = machine.reboot()
            for name, content in EDITS.items():
                (machine.etc(booted) / name).write_text(content)
    return machine


def _full_and_given_up(folder: Path) -> Machine:
    """The third version runs, and the first one made room for it."""
    machine = _full(folder)
    machine.reboot()
    assert take_survey(machine.sysroot).given_up == [_oldest(machine)]
    return machine


def _given_up(folder: Path) -> Machine:
    """The loader is back on v1, and nobody took note of that yet."""
    machine = _on_trial(folder)
    for _ in range(3):
        boot(machine.sysroot)
    return machine


def _denied(folder: Path) -> Machine:
    machine = _given_up(folder)
    recover(machine.host)
    return machine


def _with_tables(folder: Path) -> Machine:
    """The layers have tables, and one of them enough in it to be fetched in parts."""
    return installed(folder, zstd_chunked, **{"usr/lib/same": SAME})


def _stage_parts(machine: Machine) -> object:
    document = stage(machine.host, Silent())
    assert document.fetched_bytes < len(SAME)
    return document


def _add_argument(machine: Machine) -> object:
    return _argument(machine, "add")


def _take_argument_back(machine: Machine) -> object:
    return _argument(machine, "unset")


def _argument(machine: Machine, verb: str) -> object:
    return change_arguments(machine.host, Silent(), verb=verb, words=["nosmt"], source="tuned")


def _back_from_argument(machine: Machine) -> object:
    first, *_ = sorted(
        record.id
        for record in take_survey(machine.sysroot).records.values()
        if record.version == "v2"
    )
    return rollback(machine.host, Silent(), target=first)


def _allow_all(machine: Machine) -> object:
    for denial in machine.sysroot.read_denied().denied:
        allow(machine.host, denial.digest)
    return None


def _oldest(machine: Machine) -> DeploymentId:
    records = take_survey(machine.sysroot).records.values()
    return next(record.id for record in records if record.version == "v1")


def _first(machine: Machine) -> DeploymentId:
    try:
        return _oldest(machine)
    except StopIteration:
        return deployment_id(0)


def _back(machine: Machine) -> object:
    return rollback(machine.host, Silent(), target=_oldest(machine))


def _forget(machine: Machine) -> object:
    try:
        return forget(machine.host, Silent(), _first(machine))
    except NoSuchDeploymentError:
        return None  # The cut came after it was gone.


def _deny_next(machine: Machine) -> object:
    record = next(iter(take_survey(machine.sysroot).records.values()))
    deny(machine.host, record.digest, "test")
    return None


def _with_an_unfit_image(folder: Path) -> Machine:
    machine = installed(folder)
    publish(machine.image, "v2", bytes, **{"usr/etc/app.conf": b"another default\n" * 9})
    return machine


def _stage_unfit(machine: Machine) -> object:
    with pytest.raises((InvalidTreeError, DeniedDigestError)):
        machine.upgrade()
    assert not has_unneeded_layers(machine.sysroot, all_images(machine.sysroot))
    return None


def _stage_another(machine: Machine) -> object:
    publish(machine.image, "v4")
    return machine.upgrade()


OPERATIONS = {
    "stage": Operation(installed, Machine.upgrade),
    "stage by parts": Operation(_with_tables, _stage_parts),
    "stage again": Operation(_upgraded_and_staged, _stage_another),
    "stage what is unfit": Operation(_with_an_unfit_image, _stage_unfit),
    "finalize": Operation(_staged, lambda machine: finalize(machine.host, Silent())),
    "bless": Operation(_on_trial, lambda machine: bless(machine.host)),
    "rollback": Operation(_upgraded, _back),
    "rollback with something staged": Operation(_upgraded_and_staged, _back),
    "unstage": Operation(_staged, lambda machine: unstage(machine.host)),
    "pin": Operation(_upgraded, lambda m: pin(m.host, _oldest(m), pinned=True)),
    "take note of a fallback": Operation(_given_up, lambda machine: recover(machine.host)),
    "allow": Operation(_denied, _allow_all),
    "leave undecided": Operation(_on_trial, lambda machine: leave_undecided(machine.host)),
    "check health": Operation(
        _on_trial,
        lambda machine: run_health(machine.host, machine.folder, take_survey(machine.sysroot)),
    ),
    "deny": Operation(_upgraded, _deny_next),
    "collect": Operation(_three_deep, lambda machine: collect(machine.host, Silent())),
    "finalize without room": Operation(
        _full, lambda machine: finalize(machine.host, Silent()), _FOR_TWO
    ),
    "rollback without room": Operation(_full_and_given_up, _back, _FOR_TWO),
    "stage without room": Operation(_full_and_given_up, _stage_another, _FOR_TWO),
    "forget": Operation(_upgraded, _forget),
    "change kernel arguments": Operation(_to_be_changed, _add_argument),
    "change those of what is staged": Operation(_upgraded_and_staged, _add_argument),
    "take a change of them back": Operation(_changed, _take_argument_back),
    "take up those of the settings": Operation(
        _to_be_changed, lambda machine: stage(machine.host, Silent())
    ),
    "finalize changed ones": Operation(_changed, lambda m: finalize(m.host, Silent())),
    "rollback from changed ones": Operation(_changed_and_running, _back_from_argument),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_cut_leaves_a_machine_that_boots(
    name: str, loss: Loss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = OPERATIONS[name]
    if operation.boot_size is not None:
        limit_boot(monkeypatch, operation.boot_size)
    machine = operation.prepare(tmp_path / "prepared")
    whole = _copy(machine, tmp_path / "whole")
    operation.act(whole)
    steps = list(cut_disk(whole).steps)
    assert steps, "the operation writes nothing, so nothing can be cut"
    whole.power_on()
    expected = _outcome(whole)
    for cut in range(len(steps)):
        scene = f"{name}, {loss}, before step {cut}: {steps[cut]}"
        folder = tmp_path / "cut"
        survivor = _cut(machine, operation, folder, cut, loss)
        _check_booted_intact(machine, survivor, scene)
        survivor.power_on()
        _check_boots(survivor, scene)
        operation.act(survivor)
        survivor.power_on()
        _check_boots(survivor, scene)
        assert _outcome(survivor) == expected, scene
        assert not _leftovers(survivor), scene
        damages = fsck(survivor.host, Silent(), repair=False).damages
        assert not damages, scene
        shutil.rmtree(folder)


def _copy(machine: Machine, folder: Path, cut: int | None = None) -> Machine:
    return machine.copy(folder / "root", CutDisk(folder / "limbo", cut))


def _cut(machine: Machine, operation: Operation, folder: Path, cut: int, loss: Loss) -> Machine:
    doomed = _copy(machine, folder, cut)
    with pytest.raises(PowerCut):
        operation.act(doomed)
    cut_disk(doomed).lose(loss)
    return Machine(doomed.folder, machine.image, Disk(), machine.configuration)


def _check_booted_intact(before: Machine, after: Machine, scene: str) -> None:
    booted = before.sysroot.booted()
    assert booted is not None
    for part in ("root.erofs", "etc"):
        was = _fingerprint(before.sysroot.deployment(booted) / part)
        assert _fingerprint(after.sysroot.deployment(booted) / part) == was, scene


def _check_boots(machine: Machine, scene: str) -> None:
    found = take_survey(machine.sysroot)
    assert not found.problems, scene
    assert found.booted in found.records, scene
    for entry in found.entries:
        record = found.records[entry.deployment]
        folder = machine.sysroot.deployment(record.id)
        assert measure(folder / "root.erofs", SHA256).hex() == record.erofs, scene
        assert kernel_damage(machine.sysroot, record.kernel) is None, scene
        if record.version != "v1" or record.id == found.booted:
            for name, content in EDITS.items():
                assert (folder / "etc" / name).read_text() == content, scene


def _outcome(machine: Machine) -> object:
    """What an administrator would call the result."""
    found = take_survey(machine.sysroot)
    bootable = [found.records[entry.deployment] for entry in found.entries]
    return (
        [(record.version, record.pinned) for record in bootable],
        [(entry.arguments, entry.extra, len(entry.initrds)) for entry in found.entries],
        found.records[found.staged].version if found.staged else None,
        coming_arguments(found),
        sorted(machine.sysroot.read_denied().model_dump(exclude={"denied": {"__all__": {"when"}}})),
        _fingerprint(machine.etc(bootable[0].id)),
        found.intent.finalize_failure,
    )


def _leftovers(machine: Machine) -> list[Path]:
    return list(machine.folder.rglob(TEMPORARY_PREFIX + "*"))


def _fingerprint(path: Path) -> str:
    """A digest of a file, or of all names, contents and modes below a folder."""
    running = hashlib.sha256()
    for one in sorted([path, *path.rglob("*")]):
        running.update(f"{one.relative_to(path)} {one.lstat().st_mode:o} ".encode())
        if one.is_symlink():
            running.update(str(one.readlink()).encode())
        elif one.is_file():
            running.update(hashlib.sha256(one.read_bytes()).digest())
    return running.hexdigest()
