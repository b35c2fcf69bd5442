"""Forgetting a deployment, and what is told of the boot partition."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.loader import boot
from support.machine import Machine, installed, publish
from support.small_boot import MIB, release, small_boot

from bootd.boot.kernels.kernel_folders import kernel_folder
from bootd.cli.main import main
from bootd.model.boot.usage import BootOwner
from bootd.model.deployment import DeploymentId
from bootd.model.errors import (
    DeploymentNeededError,
    InvalidArgumentError,
    NoRollbackError,
    NoSpaceError,
    NoSuchDeploymentError,
)
from bootd.operations import collect as collecting
from bootd.operations.boot.usage import boot_usage
from bootd.operations.collect import collect
from bootd.operations.etc_copies import copies
from bootd.operations.finalize import finalize
from bootd.operations.forget import forget
from bootd.operations.fsck import fsck
from bootd.operations.host import Host
from bootd.operations.machine.survey import take_survey
from bootd.operations.pin import pin
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path)


def _first(machine: Machine) -> DeploymentId:
    found = machine.sysroot.booted()
    assert found is not None
    return found


def _refused(machine: Machine, deployment: DeploymentId) -> DeploymentNeededError:
    before = take_survey(machine.sysroot)
    with pytest.raises(DeploymentNeededError) as caught:
        forget(machine.host, Silent(), deployment)
    assert take_survey(machine.sysroot) == before
    return caught.value


def test_a_deployment_goes_wholly_and_its_edits_are_kept(machine: Machine) -> None:
    first = _first(machine)
    record = machine.sysroot.read_deployment(first)
    machine.upgrade()
    second = machine.reboot()
    (machine.etc(first) / "only-here").write_text("an edit\n" * 20)
    done = forget(machine.host, Silent(), first)
    assert (done.deployments, done.images, done.kernels) == ([first], 1, 1)
    assert done.freed_boot_bytes > 0
    assert not machine.sysroot.deployment(first).exists()
    assert not kernel_folder(machine.sysroot, record.kernel.digest).exists()
    assert [entry.deployment for entry in take_survey(machine.sysroot).entries] == [second]
    [copy] = copies(machine.host).copies
    assert copy.paths == ["/etc/only-here"]
    with pytest.raises(NoSuchDeploymentError):
        forget(machine.host, Silent(), first)
    assert not fsck(machine.host, Silent(), repair=False).damages
    assert machine.power_on() == second


def test_a_shared_kernel_stays(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    release(machine, "v1")
    first = machine.upgrade()
    machine.reboot()
    release(machine, "v2", same_as="v1")
    second = machine.upgrade()
    machine.reboot()
    done = forget(machine.host, Silent(), first)
    assert (done.deployments, done.kernels, done.freed_boot_bytes) == ([first], 0, 0)
    assert machine.power_on() == second


def test_what_runs_is_staged_or_pinned_stays(machine: Machine) -> None:
    first = _first(machine)
    error = _refused(machine, first)
    assert (error.message, error.exit_status) == (f"{first} is what runs", 4)
    second = machine.upgrade()
    assert "unstage" in _refused(machine, second).hint
    machine.reboot()
    pin(machine.host, first, pinned=True)
    assert f"unpin {first}" in _refused(machine, first).hint
    with pytest.raises(InvalidArgumentError):
        forget(machine.host, Silent(), "../etc")


def test_the_only_fallback_of_a_trial_stays(machine: Machine) -> None:
    first = _first(machine)
    machine.upgrade()
    machine.reboot(healthy=False)
    error = _refused(machine, first)
    assert "falls back to" in error.message
    assert "proved itself" in error.hint


def test_one_of_two_fallbacks_of_a_trial_may_go(machine: Machine) -> None:
    machine.configuration = machine.configuration.model_copy(update={"keep_deployments": 3})
    first = _first(machine)
    machine.upgrade()
    second = machine.reboot()
    publish(machine.image, "v3")
    machine.upgrade()
    third = machine.reboot(healthy=False)
    forget(machine.host, Silent(), second)
    assert [entry.deployment for entry in take_survey(machine.sysroot).entries] == [third, first]
    _refused(machine, first)


def test_what_boots_next_may_go_if_another_good_one_stays(machine: Machine) -> None:
    first = _first(machine)
    second = machine.upgrade()
    finalize(machine.host, Silent())
    forget(machine.host, Silent(), second)
    assert machine.power_on() == first


def test_without_a_running_one_the_last_good_one_stays(machine: Machine) -> None:
    first = _first(machine)
    machine.sysroot.command_line.unlink()
    error = _refused(machine, first)
    assert "boots next" in error.message


def test_what_failed_may_go_and_stays_denied(machine: Machine) -> None:
    first = _first(machine)
    second = machine.upgrade()
    machine.reboot(healthy=False)
    for _ in range(2):
        boot(machine.sysroot)
    # No daemon took note of it yet.
    assert boot(machine.sysroot) == first
    forget(machine.host, Silent(), second)
    assert len(machine.sysroot.read_denied().denied) == 1
    with pytest.raises(NoRollbackError):
        rollback(machine.host, Silent())


def test_without_room_for_its_edits_it_stays_in_the_store(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = _first(machine)
    machine.upgrade()
    second = machine.reboot()

    def full(_host: Host, *_: object) -> None:
        raise NoSpaceError("cannot write the copy: No space left on device")

    monkeypatch.setattr(collecting, "keep_edits", full)
    with pytest.raises(NoSpaceError, match="boots no more") as told:
        forget(machine.host, Silent(), first)
    assert "the journal says what was wrong" in told.value.hint
    assert "cannot write the copy: No space left on device" in caplog.text
    monkeypatch.undo()
    assert machine.etc(first).is_dir()
    assert machine.power_on() == second
    assert collect(machine.host, Silent()).deployments == [first]


def test_what_holds_the_boot_partition_is_told(tmp_path: Path) -> None:
    with small_boot(tmp_path, 8 * MIB) as machine:
        release(machine, "v1")
        first = machine.upgrade()
        machine.reboot()
        release(machine, "v2")
        second = machine.upgrade()
        machine.reboot()
        partition = machine.folder / "boot"
        (partition / "EFI/Other").mkdir(parents=True)
        (partition / "EFI/Other/loader.efi").write_bytes(b"x" * 70_000)
        (partition / "stray").write_bytes(b"x" * 5_000)
        (partition / "bootd" / ("ab" * 32)).mkdir()
        (partition / "bootd" / ("ab" * 32) / "initrd").write_bytes(b"x" * 9_000)
        (partition / "bootd" / ("cd" * 32 + "-01234567")).mkdir()
        (partition / "bootd/notes.txt").write_text("mine")
        told = boot_usage(machine.host)
        by_owner = {one.owner: one for one in told.kernels if one.owner is not BootOwner.OWN}
        assert by_owner[BootOwner.NOBODY].folder == "ab" * 32
        assert by_owner[BootOwner.NEIGHBOUR].installation == "01234567"
        assert by_owner[BootOwner.OTHER].folder == "notes.txt"
        own = {one.deployments[0]: one for one in told.kernels if one.owner is BootOwner.OWN}
        assert own.keys() == {first, second}
        assert [len(one.entries) for one in own.values()] == [1, 1]
        shares = {one.path: one.bytes for one in told.others}
        assert shares["EFI/Other"] == 73_728
        assert shares["stray"] == 8_192
        assert (told.size, told.freed_bytes) == (8 * MIB, 12_288)
        collect(machine.host, Silent())
        after = boot_usage(machine.host)
        assert after.free == told.free + told.freed_bytes
        assert after.freed_bytes == 0


def test_the_verbs_need_no_daemon(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    first = _first(machine)
    machine.upgrade()
    machine.reboot()
    common = [f"--sysroot={machine.folder}", "--json=short"]
    assert main(["cleanup", "--boot", *common]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "BootUsage"
    assert main(["forget", first, *common]) == 0
    assert json.loads(capsys.readouterr().out)["deployments"] == [first]
    assert main(["cleanup", *common]) == 0
    assert json.loads(capsys.readouterr().out)["deployments"] == []
