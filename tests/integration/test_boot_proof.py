"""Which partition a host takes for its own boot partition, and that it writes to no other.

Needs root, mount(8), losetup(8), lsblk(8) and mkfs.ext4(8). lsblk reads a folder laid out as sysfs,
in which real loop devices are the partitions.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.block_tree import XBOOTLDR_TYPE
from support.boot_tree import snapshot
from support.installing import mounted_device, tool
from support.live_disk import UUIDS, LiveDisk, automount, live_disk
from support.machine import Machine, installed

from bootd.boot.devices.mounts import mount_of
from bootd.boot.listing import list_entries
from bootd.boot.loader.efi_variables import LOADER_VENDOR
from bootd.daemon.machine import Machine as DaemonMachine
from bootd.model.errors import NoBootPartitionError
from bootd.operations.bless import bless, leave_undecided
from bootd.operations.collect import collect
from bootd.operations.finalize import finalize
from bootd.operations.forget import forget
from bootd.operations.fsck import fsck
from bootd.operations.host import Host
from bootd.operations.kernel_arguments import change_arguments
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveDisk]:
    with live_disk(tmp_path, monkeypatch) as found:
        found.tree.disk("sda")
        yield found


WRITERS: dict[str, Callable[[Host], object]] = {
    "stage": lambda host: stage(host, Silent()),
    "rollback": lambda host: rollback(host, Silent()),
    "collect": lambda host: collect(host, Silent()),
    "change kernel arguments": lambda host: change_arguments(
        host, Silent(), verb="add", words=["nosmt"]
    ),
    "forget": lambda host: forget(host, Silent(), deployment=str(host.sysroot.booted())),
    "bless": bless,
    "undecided": leave_undecided,
}


def test_entry_decides_between_the_loader_s_partitions(disk: LiveDisk):
    esp = disk.partition("sda")
    extended = disk.partition("sda", XBOOTLDR_TYPE)
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    disk.fill(esp)
    assert disk.where() == str(esp)
    disk.fill(extended)
    with mounted_device(esp, disk.folder / "mnt") as folder:
        shutil.rmtree(folder / "loader")
        shutil.rmtree(folder / "bootd")
    assert disk.where() == str(extended)


def test_own_kernel_proves_a_partition_whose_entries_are_lost(disk: LiveDisk):
    esp = disk.partition("sda")
    disk.partition("sda", XBOOTLDR_TYPE)
    disk.say("StubDevicePartUUID", UUIDS[1].upper())
    disk.fill(esp)
    with mounted_device(esp, disk.folder / "mnt") as folder:
        shutil.rmtree(folder / "loader/entries")
    assert disk.where() == str(esp)


def test_loader_s_word_proves_its_only_partition(disk: LiveDisk):
    esp = disk.partition("sda")
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    assert f"{esp} has no folder loader/entries" in disk.where()
    booted = disk.machine.sysroot.booted()
    disk.say("LoaderEntrySelected", f"bootd-0001-{booted}.conf")
    assert disk.where() == str(esp)
    other = disk.partition("sda", XBOOTLDR_TYPE)
    said = disk.where()
    assert f"{esp} has no folder" in said
    assert f"{other} has no folder" in said
    disk.fill(esp)
    assert disk.where() == str(esp)


def test_all_that_was_lost_is_put_back_on_the_loader_s_word(disk: LiveDisk):
    esp = disk.partition("sda")
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    disk.say("LoaderEntrySelected", f"bootd-0001-{disk.machine.sysroot.booted()}.conf")
    with disk.opened() as host:
        recover(host)
        assert len(list_entries(host.sysroot).entries) == 1
        assert stage(host, Silent()).changed
    (disk.machine.sysroot.efi_variables / f"LoaderEntrySelected-{LOADER_VENDOR}").unlink()
    assert disk.where() == str(esp)


def test_another_entry_that_the_loader_started_proves_nothing(disk: LiveDisk):
    disk.partition("sda")
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    disk.say("LoaderEntrySelected", "bootd-0001-0123456789abcdef.7.conf")
    assert "so nothing is written to any" in disk.where()


@pytest.mark.parametrize("name", ["boot", "efi", "boot/efi"])
def test_mounted_partition_of_another_disk_is_passed_over(disk: LiveDisk, name: str):
    disk.tree.disk("sdb")
    esp = disk.partition("sda")
    old = disk.partition("sdb")
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    disk.fill(old)
    where = disk.mount(old, name)
    said = disk.where()
    assert f"{where} is another partition than the boot loader reads" in said
    disk.fill(esp)
    assert disk.where() == str(esp)
    assert disk.where(where) == str(esp)
    with disk.opened(where) as host:
        [problem] = status(host).problems
        assert problem.startswith(f"{where}, which boot_partition names, is another partition")


@pytest.mark.parametrize("name", ["boot", "efi"])
def test_nobody_walks_into_an_automount_where_the_loader_says_what_it_is(disk: LiveDisk, name: str):
    esp = disk.partition("sda")
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    disk.fill(esp)
    folder = disk.folder / name
    folder.mkdir(exist_ok=True)
    with automount(folder):
        # One whose daemon has gone says so to whoever looks.
        with pytest.raises(FileNotFoundError):
            next(folder.iterdir())
        for configured in (None, folder):
            with disk.opened(configured) as host:
                assert host.sysroot.boot != folder
                assert status(host).problems == []


def test_the_daemon_does_not_look_into_an_automount(tmp_path: Path):
    machine = DaemonMachine(tmp_path)
    machine.host.sysroot.initialise()
    boot = machine.host.sysroot.boot
    assert boot / "loader" in machine.folders()
    with automount(boot):
        assert [path for path in machine.folders() if path.is_relative_to(boot)] == []


def test_where_the_loader_says_nothing_what_is_mounted_may_be(disk: LiveDisk):
    esp = disk.partition("sda")
    assert "does not say which partition it came from" in disk.where()
    disk.fill(esp)
    disk.mount(esp, "efi")
    assert disk.where() == str(esp)
    with disk.opened() as host:
        assert host.sysroot.boot == disk.folder / "efi"


def test_variable_that_holds_rubbish_is_told_and_says_nothing(disk: LiveDisk):
    esp = disk.partition("sda")
    disk.fill(esp)
    disk.say("LoaderDevicePartUUID", "../../sda1")
    assert "the EFI variable LoaderDevicePartUUID holds '../../sda1'" in disk.where()
    with disk.opened(esp) as host:
        assert "LoaderDevicePartUUID" in status(host).problems[0]
        assert stage(host, Silent()).changed


def _nothing(disk: LiveDisk) -> Path:
    return disk.folder / "not-there"


def _file(disk: LiveDisk) -> Path:
    (disk.folder / "file").write_text("")
    return disk.folder / "file"


def _empty(disk: LiveDisk) -> Path:
    (disk.folder / "empty").mkdir()
    return disk.folder / "empty"


def _null(_: LiveDisk) -> Path:
    return Path("/dev/null")


CONFIGURED = {
    "does not exist": _nothing,
    "neither a folder nor a block device": _file,
    "which boot_partition names, is a folder with nothing mounted on it": _empty,
    "names, is neither a folder nor": _null,
}


@pytest.mark.parametrize("told", CONFIGURED)
def test_setting_that_names_no_partition_is_told_and_does_no_harm(disk: LiveDisk, told: str):
    esp = disk.partition("sda")
    disk.fill(esp)
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    configured = CONFIGURED[told](disk)
    assert disk.where(configured) == str(esp)
    with disk.opened(configured) as host:
        [problem] = status(host).problems
        assert told in problem
        [damage] = fsck(host, Silent()).damages
        assert (damage.what, damage.problem) == ("boot-partition", problem)


@pytest.mark.parametrize("told", CONFIGURED)
def test_setting_that_names_no_partition_is_refused_without_a_loader_s_word(
    disk: LiveDisk, told: str
):
    said = disk.where(CONFIGURED[told](disk))
    assert "is empty" in said if "folder with" in told else told in said


def test_setting_may_be_a_link_to_the_device(disk: LiveDisk):
    esp = disk.partition("sda")
    disk.fill(esp)
    link = disk.folder / UUIDS[1]
    link.symlink_to(esp)
    assert disk.where(link) == str(esp)
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    with disk.opened(link) as host:
        assert status(host).problems == []


def test_device_without_a_file_system(disk: LiveDisk):
    esp = disk.partition("sda")
    esp.write_bytes(bytes(1 << 20))
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    assert f"{esp} cannot be mounted: mount ended" in disk.where()
    assert [path.name for path in disk.machine.sysroot.run.iterdir()] == ["blessed"]


def test_clone_of_the_disk_is_told_from_the_one_the_root_is_on(disk: LiveDisk):
    disk.tree.disk("sdb")
    esp, clone = (disk.partition(name, uuid=UUIDS[1]) for name in ("sda", "sdb"))
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    for device in (esp, clone):
        disk.fill(device)
    assert f"{min(esp, clone)} and {max(esp, clone)} have the same partition UUID" in disk.where()
    root = mount_of(disk.machine.sysroot.physical)
    assert root is not None
    disk.tree.part("sdb", "sdb9", UUIDS[9], number=root.number)
    assert disk.where() == str(clone)


@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_is_written_where_no_partition_is_proven(disk: LiveDisk, writer: str):
    esp = disk.partition("sda")
    other = disk.partition("sda", XBOOTLDR_TYPE)
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    with mounted_device(other, disk.folder / "mnt") as folder:
        (folder / "loader/entries").mkdir(parents=True)
        (folder / "loader/entries/fedora.conf").write_text("title Fedora\n")
    with disk.opened() as host, pytest.raises(NoBootPartitionError) as caught:
        WRITERS[writer](host)
    assert f"{esp} has no folder loader/entries" in caught.value.message
    assert f"{other} holds boot entries of others only, such as fedora.conf" in caught.value.message
    for device, names in ((esp, ["lost+found"]), (other, ["loader", "lost+found"])):
        with mounted_device(device, disk.folder / "mnt") as folder:
            assert sorted(path.name for path in folder.iterdir()) == names


def test_shutdown_without_a_proven_partition_keeps_what_is_staged(disk: LiveDisk):
    esp = disk.partition("sda")
    disk.fill(esp)
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    with disk.opened() as host:
        staged = stage(host, Silent()).deployment
    with mounted_device(esp, disk.folder / "mnt") as folder:
        shutil.rmtree(folder / "loader")
        shutil.rmtree(folder / "bootd")
    with disk.opened() as host:
        with pytest.raises(NoBootPartitionError, match="no partition is known"):
            finalize(host, Silent())
        found = status(host)
        assert (found.staged, found.finalize_failure) == (staged, found.problems[0])
    disk.fill(esp)
    with disk.opened() as host:
        assert finalize(host, Silent()).deployment == staged


def test_what_only_reads_goes_on(disk: LiveDisk, caplog: pytest.LogCaptureFixture):
    disk.partition("sda")
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    with disk.opened() as host:
        (host.sysroot.store / ".new-1-left").write_text("of a writer that is gone")
        assert recover(host).messages == ("removed 1 leftovers of an interrupted write",)
        found = status(host)
        assert found.booted == disk.machine.sysroot.booted()
        [problem] = found.problems
        assert problem.startswith("no partition is known to be the one that the running deployment")
        assert problem in caplog.text
        damages = [one for one in fsck(host, Silent()).damages if one.what == "boot-partition"]
        assert [one.problem for one in damages] == [problem]
        assert not damages[0].repaired
        assert not host.sysroot.boot.exists()


def test_degraded_array_is_told_and_used(disk: LiveDisk):
    disk.tree.disk("sdb")
    for name in ("sda", "sdb"):
        disk.tree.part(name, f"{name}1", UUIDS[name == "sdb"], content="linux_raid_member")
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    assert "/dev/sdb1 is a member of a RAID array that is not assembled" in disk.where()
    array = disk.array("md127", "sda1", "sdb1")
    disk.fill(array)
    assert disk.where() == str(array)
    degraded = disk.folder / "sys/class/block/md127/md/degraded"
    degraded.parent.mkdir(parents=True)
    degraded.write_text("0\n")
    with disk.opened() as host:
        assert status(host).problems == []
    degraded.write_text("1\n")
    with disk.opened() as host:
        [problem] = status(host).problems
        assert problem == "the RAID array md127 that the boot partition is on is degraded"
        assert stage(host, Silent()).changed


@pytest.mark.parametrize("printed", ["", "lsblk: rubbish", "[]", '{"blockdevices": 7}', "x" * 200])
def test_lsblk_that_prints_rubbish(disk: LiveDisk, printed: str, tmp_path: Path):
    disk.say("LoaderDevicePartUUID", UUIDS[1])
    (tmp_path / "bin/lsblk").write_text(f"#!/bin/sh\ncat <<'X'\n{printed}\nX\n")
    assert re.search(r"lsblk printed .* which is no list of block devices", disk.where(), re.DOTALL)


def _upgrade(machine: Machine) -> None:
    machine.upgrade()
    machine.reboot()


def test_machine_in_a_folder_proves_its_boot_folder_too(tmp_path: Path):
    machine = installed(tmp_path)
    boot = machine.folder / "boot"
    boot.rename(machine.folder / "kept")
    boot.mkdir()
    for writer in WRITERS.values():
        with pytest.raises(NoBootPartitionError, match=rf"{boot} is empty"):
            writer(machine.host)
    recover(machine.host)
    assert snapshot(boot) == {}
    assert "no partition is known" in status(machine.host).problems[0]
    boot.rmdir()
    (machine.folder / "kept").rename(boot)
    assert status(machine.host).problems == []
    _upgrade(machine)
    assert len(list_entries(machine.sysroot).entries) == 2


def test_neighbour_s_entries_prove_nothing(tmp_path: Path):
    machine, other = installed(tmp_path / "one"), installed(tmp_path / "two")
    boot = machine.folder / "boot"
    shutil.rmtree(boot)
    tool("cp", "-a", other.folder / "boot", boot)
    before = snapshot(boot)
    for writer in WRITERS.values():
        with pytest.raises(NoBootPartitionError, match="holds boot entries of others only"):
            writer(machine.host)
    with suppress(NoBootPartitionError):
        finalize(machine.host, Silent())
    assert snapshot(boot) == before
