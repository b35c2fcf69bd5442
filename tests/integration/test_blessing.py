"""What came up is kept, whatever is in the way of writing that down."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.loader import set_variable, use_up_tries
from support.machine import Machine, installed, publish
from support.power import LOSSES, CutDisk, PowerCut

from bootd.boot.entries import heal_entries
from bootd.boot.entry import BootEntry
from bootd.cli import offline
from bootd.cli.main import main
from bootd.durable import Disk
from bootd.model.deployment import DeploymentId
from bootd.model.errors import (
    TRY_AGAIN,
    BusyError,
    NoBootPartitionError,
    NotBlessedYetError,
    WriteFailedError,
)
from bootd.operations.bless import BLESSED_MARKER, bless, leave_undecided, read_blessing
from bootd.operations.collect import collect
from bootd.operations.host import Host
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.operations.stage import stage
from bootd.operations.status import status
from bootd.operations.trial import health
from bootd.operations.trial.deny import denied


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine in the first boot of a new deployment."""
    found = installed(tmp_path)
    found.upgrade()
    found.reboot(healthy=False)
    return found


def on_trial(machine: Machine) -> DeploymentId:
    found = machine.sysroot.booted()
    assert found is not None
    return found


def entry_of(machine: Machine, deployment: DeploymentId) -> BootEntry:
    found = take_survey(machine.sysroot).entry(deployment)
    assert found is not None
    return found


class _Unwritable(Disk):
    """A disk on which the boot partition takes no write, remounted or not."""

    def copy_file(self, source: Path, target: Path, mode: int = 0o600) -> None:
        raise WriteFailedError(f"cannot write {target}: Input/output error")

    def remove_file(self, path: Path) -> None:
        if path.suffix == ".conf":
            raise WriteFailedError(f"cannot remove {path}: Input/output error")
        super().remove_file(path)


@contextmanager
def unwritable(machine: Machine) -> Iterator[None]:
    """Let nothing be written to the machine's boot partition."""
    machine.disk = _Unwritable()
    try:
        yield
    finally:
        machine.disk = Disk()


def test_a_download_that_holds_the_store_is_not_waited_for(machine: Machine) -> None:
    with machine.sysroot.lock(exclusive=True):
        assert leave_undecided(machine.host) == on_trial(machine)
        assert bless(machine.host) == on_trial(machine)
    assert entry_of(machine, on_trial(machine)).tries_left is None


def test_an_entry_that_somebody_changes_is_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootd.sysroot._BOOT_LOCK_SECONDS", 0.1)
    with machine.sysroot.boot_lock():
        with pytest.raises(NotBlessedYetError, match="another process"):
            bless(machine.host)
        with pytest.raises(BusyError):
            leave_undecided(machine.host)
    assert bless(machine.host) == on_trial(machine)


def test_many_at_once_and_a_collection_leave_one_good_entry(machine: Machine) -> None:
    new = on_trial(machine)
    for round_ in range(10):
        name = entry_of(machine, new)
        folder = machine.sysroot.boot / "loader/entries"
        counted = replace(name, tries_left=2, tries_done=1)
        (folder / name.file_name).rename(folder / counted.file_name)
        with ThreadPoolExecutor() as pool:
            blessings = [pool.submit(bless, machine.host) for _ in range(3)]
            healings = [pool.submit(heal_entries, machine.sysroot) for _ in range(3)]
            collection = pool.submit(collect, machine.host, Silent())
        assert {done.result() for done in blessings} <= {new, None}, round_
        assert [done.result() for done in healings]
        collection.result()
        assert entry_of(machine, new).tries_left is None
        names = [path.name for path in folder.iterdir()]
        assert len(names) == len(take_survey(machine.sysroot).entries) == 2, names


def test_a_partition_that_cannot_be_written_is_no_verdict(machine: Machine) -> None:
    new = on_trial(machine)
    for left in (2, 1, 0):
        assert entry_of(machine, new).tries_left == left
        with unwritable(machine):
            with pytest.raises(NotBlessedYetError) as caught:
                bless(machine.host)
            assert caught.value.exit_status == TRY_AGAIN
            assert (machine.sysroot.run / BLESSED_MARKER).exists(), "so that nothing restarts"
            assert any(f"{new} came up" in one for one in status(machine.host).problems)
            told = recover(machine.host)
            assert not told.fallbacks
        if left:
            # The firmware can count although Linux cannot write, and no daemon starts in between.
            use_up = entry_of(machine, new)
            counted = replace(use_up, tries_left=left - 1, tries_done=use_up.tries_done + 1)
            folder = machine.sysroot.boot / "loader/entries"
            (folder / use_up.file_name).rename(folder / counted.file_name)
    recover(machine.host)
    assert entry_of(machine, new).tries_left is None
    assert read_blessing(machine.sysroot) is None
    assert not status(machine.host).problems


def test_what_the_loader_gave_up_meanwhile_is_not_denied_and_boots_again(machine: Machine) -> None:
    new = on_trial(machine)
    with unwritable(machine), pytest.raises(NotBlessedYetError):
        bless(machine.host)
    use_up_tries(machine.sysroot, entry_of(machine, new))
    older = machine.power_on()
    assert older != new
    assert not denied(machine.host).denied
    assert status(machine.host).queued == new
    assert not stage(machine.host, Silent(), automatic=True).changed
    assert machine.power_on() == new
    assert status(machine.host).state == "idle"


def test_it_is_not_denied_either_while_nothing_can_be_written(machine: Machine) -> None:
    new = on_trial(machine)
    with unwritable(machine), pytest.raises(NotBlessedYetError):
        bless(machine.host)
    use_up_tries(machine.sysroot, entry_of(machine, new))
    (older,) = {one.deployment for one in take_survey(machine.sysroot).entries} - {new}
    machine.sysroot.command_line.write_text(f"bootd={older}\n")
    with unwritable(machine):
        assert not recover(machine.host).fallbacks
        assert any(f"{new} came up" in one for one in status(machine.host).problems)
    assert not denied(machine.host).denied


class _FullStore(Disk):
    """Takes nothing in the store, and everything on the boot partition."""

    def replace_file(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        if path.name == "blessed.json":
            raise WriteFailedError(f"cannot write {path}: No space left on device")
        super().replace_file(path, data, mode)


def test_a_full_store_does_not_keep_an_entry_from_being_blessed(machine: Machine) -> None:
    full = replace(machine.host, sysroot=replace(machine.sysroot, disk=_FullStore()))
    assert bless(full) == on_trial(machine)
    assert entry_of(machine, on_trial(machine)).tries_left is None


@pytest.mark.parametrize("record", ["", "{", '{"deployment": "x"}', "[]", "\0" * 9_000])
def test_a_damaged_record_of_it_is_none(machine: Machine, record: str) -> None:
    (machine.sysroot.store / "blessed.json").write_text(record)
    assert not recover(machine.host).fallbacks
    assert status(machine.host).state == "trial"


def test_a_failed_image_is_denied_although_another_was_blessed(machine: Machine) -> None:
    good = on_trial(machine)
    assert bless(machine.host) == good
    publish(machine.image, "v3")
    bad = machine.upgrade()
    assert machine.reboot(healthy=False) == bad
    for _ in range(2):
        machine.power_on(healthy=False)
    assert machine.power_on() == good
    assert len(denied(machine.host).denied) == 1


@pytest.mark.parametrize("loss", LOSSES)
def test_a_power_cut_at_any_step_of_it_loses_no_more_than_the_try(
    machine: Machine, tmp_path: Path, loss: str
) -> None:
    new = on_trial(machine)
    for cut in range(40):
        disk = CutDisk(tmp_path / f"limbo-{cut}", cut)
        copy = machine.copy(tmp_path / f"copy-{cut}", disk)
        try:
            bless(copy.host)
        except PowerCut:
            finished = False
        else:
            finished = True
        disk.lose(loss)
        after = Machine(copy.folder, copy.image, Disk(), copy.configuration)
        assert after.power_on(healthy=False) == new
        assert not denied(after.host).denied
        assert bless(after.host) in (new, None)
        assert entry_of(after, new).tries_left is None
        shutil.rmtree(copy.folder)
        if finished:
            return
    pytest.fail("it has more steps than were cut")


class _Missing:
    """In place of mounting ``$BOOT``: there is none."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __enter__(self) -> Host:
        raise NoBootPartitionError("the boot loader does not say which partition it came from")

    def __exit__(self, *_: object) -> None:
        """Nothing was entered."""


@pytest.fixture
def unmountable(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(offline, "opened_host", _Missing)
    return machine


def test_a_missing_partition_is_no_verdict(unmountable: Machine) -> None:
    words = ["--sysroot", str(unmountable.folder)]
    set_variable(unmountable.sysroot, "LoaderBootCountPath", "\\loader\\entries\\x+2-1.conf")
    assert main(["health", "run", *words]) == 0
    assert main(["bless", "--soak", *words]) == TRY_AGAIN
    assert read_blessing(unmountable.sysroot) == on_trial(unmountable)
    assert main(["bless", "--undecided", *words]) == TRY_AGAIN
    assert not recover(unmountable.host).fallbacks
    assert entry_of(unmountable, on_trial(unmountable)).tries_left is None


def test_a_missing_partition_does_not_shorten_the_soak(
    unmountable: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (unmountable.folder / "etc/bootd").mkdir(parents=True)
    (unmountable.folder / "etc/bootd/bootd.toml").write_text("soak_seconds = 3600\n")
    waited: list[float] = []
    monkeypatch.setattr("bootd.clock.Clock.sleep", lambda _, seconds: waited.append(seconds))
    check = unmountable.folder / "usr/lib/bootd/health.d/10-ill"
    check.parent.mkdir(parents=True)
    check.write_text("#!/bin/sh\nexit 1\n")
    check.chmod(0o755)
    set_variable(unmountable.sysroot, "LoaderBootCountPath", "\\loader\\entries\\x+2-1.conf")
    assert main(["bless", "--soak", "--sysroot", str(unmountable.folder)]) == 1
    assert waited[:1] == [3_600]
    assert read_blessing(unmountable.sysroot) is None


def test_a_damaged_store_is_no_verdict(machine: Machine) -> None:
    machine.sysroot.intent_file.write_text("{")
    words = ["--sysroot", str(machine.folder)]
    assert main(["health", "run", *words]) == 0
    assert main(["bless", "--soak", *words]) == TRY_AGAIN
    assert health.this_boots_health(machine.sysroot) is not None
