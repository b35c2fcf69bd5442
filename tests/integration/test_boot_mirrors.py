"""Two EFI system partitions that are kept alike: either disk may fail.

Needs root, mount(8), losetup(8), lsblk(8) and mkfs.ext4(8).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.boot_tree import snapshot
from support.installing import mounted_device
from support.live_disk import UUIDS, LiveDisk, live_disk
from support.loader import boot

from bootd.boot.listing import list_entries
from bootd.durable import Disk
from bootd.model.deployment import DeploymentId
from bootd.operations.bless import bless
from bootd.operations.finalize import finalize
from bootd.operations.fsck import fsck
from bootd.operations.host import Host
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.operations.stage import stage
from bootd.operations.status import status


@dataclass
class Pair:
    """A machine on two disks.

    Attributes:
        disk: its partitions.
        first: the partition it was started from.
        second: the other one.
    """

    disk: LiveDisk
    first: Path
    second: Path

    @contextmanager
    def opened(self) -> Iterator[Host]:
        with self.disk.opened(None, self.first, self.second) as host:
            yield host

    def contents(self, device: Path) -> dict[str, bytes]:
        with mounted_device(device, self.disk.folder / "mnt") as folder:
            return {
                name: data
                for name, data in snapshot(folder).items()
                if name.startswith(("bootd/", "loader/"))
            }

    def start_from(self, number: int) -> DeploymentId:
        """What firmware and loader do, with the partition of one of the two disks."""
        device = (self.first, self.second)[number - 1]
        self.disk.say("LoaderDevicePartUUID", UUIDS[number])
        sysroot = self.disk.machine.sysroot
        for path in sysroot.run.iterdir():
            path.unlink()
        with mounted_device(device, self.disk.folder / "mnt") as folder:
            return boot(replace(sysroot, boot=folder))


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    with live_disk(tmp_path, monkeypatch) as disk:
        for name in ("sda", "sdb"):
            disk.tree.disk(name)
        found = Pair(disk, disk.partition("sda"), disk.partition("sdb"))
        disk.say("LoaderDevicePartUUID", UUIDS[1])
        disk.fill(found.first)
        yield found


def test_new_one_is_told_of_and_made_like_the_other(pair: Pair):
    with pair.opened() as host:
        [problem] = status(host).problems
        assert f"{pair.second} differs from the boot partition {pair.first}" in problem
        [damage] = fsck(host, Silent()).damages
        assert (damage.what, damage.repaired) == ("boot-partition", True)
        assert status(host).problems == []
    assert pair.contents(pair.first) == pair.contents(pair.second) != {}


def test_upgrade_writes_both(pair: Pair):
    with pair.opened() as host:
        recover(host)
        staged = stage(host, Silent()).deployment
        finalize(host, Silent())
        assert status(host).problems == []
    assert pair.contents(pair.first) == pair.contents(pair.second)
    assert pair.start_from(1) == staged
    with pair.opened() as host:
        recover(host)
        assert bless(host) == staged
        assert status(host).problems == []
    assert pair.contents(pair.first) == pair.contents(pair.second)


def test_machine_goes_on_from_the_other_disk(pair: Pair):
    with pair.opened() as host:
        recover(host)
        staged = stage(host, Silent()).deployment
        finalize(host, Silent())
    assert pair.start_from(1) == staged
    # The disk fails before the deployment has proved itself.
    assert pair.start_from(2) == staged
    with pair.disk.opened(None, Path("/dev/gone"), pair.second) as host:
        recover(host)
        assert bless(host) == staged
        assert status(host).problems == [
            "/dev/gone, which boot_partitions names, is no block device that is here"
        ]
        assert list_entries(host.sysroot).entries[0].tries_left is None


def test_what_failed_on_one_fails_on_both(pair: Pair):
    with pair.opened() as host:
        recover(host)
        old = host.sysroot.booted()
        stage(host, Silent())
        finalize(host, Silent())
    for _ in range(3):
        assert pair.start_from(1) != old
    assert pair.start_from(1) == old
    with pair.opened() as host:
        assert any("it was made alike" in message for message in recover(host).messages)
    assert pair.start_from(2) == old


@pytest.mark.parametrize("problem", ["no file system", "read-only", "full"])
def test_one_that_takes_no_writes_holds_nothing_up(pair: Pair, problem: str):
    with pair.opened() as host:
        recover(host)
    where = pair.disk.folder / "other"
    if problem == "no file system":
        pair.second.write_bytes(bytes(1 << 20))
    elif problem == "read-only":
        pair.disk.mount(pair.second, "other", "ro")
    else:
        with mounted_device(pair.second, where) as folder:
            filler = ["dd", "if=/dev/zero", f"of={folder / 'filler'}", "bs=4k"]
            subprocess.run(filler, check=False, capture_output=True)
    with pair.opened() as host:
        staged = stage(host, Silent()).deployment
        finalize(host, Silent())
        assert any(str(pair.second) in told for told in status(host).problems)
        damages = [one for one in fsck(host, Silent()).damages if one.what == "boot-partition"]
        assert [one.repaired for one in damages] == [False]
    assert pair.start_from(1) == staged


class _CutDisk(Disk):
    """The power goes when a boot entry is about to get its name on a partition."""

    def __init__(self, kept: int) -> None:
        self._left = kept

    def replace_file(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        if path.name.startswith("bootd-"):
            if not self._left:
                raise KeyboardInterrupt
            self._left -= 1
        super().replace_file(path, data, mode)


@pytest.mark.parametrize("kept", [0, 1])
def test_power_cut_between_the_two_leaves_both_bootable(pair: Pair, kept: int):
    with pair.opened() as host:
        recover(host)
        old = host.sysroot.booted()
        staged = stage(host, Silent()).deployment
        cut = replace(host, sysroot=replace(host.sysroot, disk=_CutDisk(kept)))
        with pytest.raises(KeyboardInterrupt):
            finalize(cut, Silent())
    # The booted one is written last.
    assert pair.start_from(2) == (staged if kept else old)
    assert pair.start_from(1) == old
    with pair.opened() as host:
        recover(host)
        assert status(host).problems == []
        finalize(host, Silent())
    assert pair.contents(pair.first) == pair.contents(pair.second)
    assert pair.start_from(1) == staged


def test_others_files_on_it_stay(pair: Pair):
    with mounted_device(pair.second, pair.disk.folder / "mnt") as folder:
        (folder / "loader/entries").mkdir(parents=True)
        (folder / "loader/entries/arch.conf").write_text("title Arch\n")
        (folder / "EFI/arch").mkdir(parents=True)
    with pair.opened() as host:
        recover(host)
    with mounted_device(pair.second, pair.disk.folder / "mnt") as folder:
        assert (folder / "loader/entries/arch.conf").read_text() == "title Arch\n"
        shutil.rmtree(folder / "bootd")
    with pair.opened() as host:
        assert "vmlinuz" in status(host).problems[0]
