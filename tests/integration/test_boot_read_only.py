"""A boot partition that takes no writes: told when an upgrade is staged, mended at shutdown.

Needs root, mount(8), losetup(8), blockdev(8) and mkfs.ext4(8).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.installing import loop_device, tool
from support.live_disk import UUIDS, LiveDisk, live_disk
from support.machine import Machine, installed

from bootd.boot.listing import list_entries
from bootd.boot.writable import is_read_only, make_writable
from bootd.model.errors import BootPartitionFullError, BootPartitionReadOnlyError
from bootd.operations.finalize import finalize
from bootd.operations.fsck import fsck
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status


@dataclass
class Mounted:
    """A machine whose ``boot`` is a file system of its own, on a device."""

    machine: Machine
    device: Path

    @property
    def boot(self) -> Path:
        return self.machine.folder / "boot"

    def staged_images(self) -> int:
        return len(list((self.machine.sysroot.store / "images").iterdir()))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounted]:
    machine = installed(tmp_path / "machine")
    image = tmp_path / "esp.img"
    with image.open("wb") as stream:
        stream.truncate(8 << 20)
    tool("mkfs.ext4", "-q", "-N", "64", image)
    boot = machine.folder / "boot"
    boot.rename(tmp_path / "filled")
    boot.mkdir()
    with ExitStack() as stack:
        device = stack.enter_context(loop_device(image))
        tool("mount", device, boot)
        stack.callback(_unmount_all, boot)
        tool("cp", "-a", f"{tmp_path / 'filled'}/.", boot)
        yield Mounted(machine, device)


def _unmount_all(folder: Path) -> None:
    while subprocess.run(["umount", folder], check=False, capture_output=True).returncode == 0:
        pass


def _remounted(found: Mounted) -> None:
    tool("mount", "-o", "remount,ro", found.boot)


def _bind(found: Mounted) -> None:
    tool("mount", "--bind", found.boot, found.boot)
    tool("mount", "-o", "remount,bind,ro", found.boot)


def _by_the_kernel(found: Mounted) -> None:
    """What the kernel does of itself after an error, with errors=remount-ro."""
    tool("mount", "-o", "remount,errors=remount-ro", found.boot)
    (Path("/sys/fs/ext4") / found.device.name / "trigger_fs_error").write_text("a test\n")


@contextmanager
def _protected(device: Path) -> Iterator[None]:
    """A loop device stays as it was set after it is detached."""
    tool("blockdev", "--setro", device)
    try:
        yield
    finally:
        tool("blockdev", "--setrw", device)


MENDED: dict[str, Callable[[Mounted], None]] = {"remounted": _remounted, "bind": _bind}
ALL = {**MENDED, "after an error": _by_the_kernel}


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_staging_says_so_before_anything_is_fetched(
    mounted: Mounted, make: Callable[[Mounted], None]
) -> None:
    make(mounted)
    before = mounted.staged_images()
    with pytest.raises(BootPartitionReadOnlyError) as caught:
        mounted.machine.upgrade()
    assert caught.value.code == "boot-partition-read-only"
    assert f"the boot partition {mounted.boot} is read-only: " in caught.value.message
    assert f"'mount -o remount,rw {mounted.boot}'" in caught.value.hint
    assert mounted.staged_images() == before
    assert status(mounted.machine.host).staged is None
    with pytest.raises(BootPartitionReadOnlyError):
        rollback(mounted.machine.host, Silent(), target=mounted.machine.sysroot.booted())


@pytest.mark.parametrize("make", MENDED.values(), ids=MENDED)
def test_status_and_fsck_say_so(mounted: Mounted, make: Callable[[Mounted], None]) -> None:
    make(mounted)
    host = mounted.machine.host
    problem = f"the boot partition {mounted.boot} is read-only"
    assert status(host).problems == [problem]
    assert problem in [damage.problem for damage in fsck(host, Silent(), repair=False).damages]


@pytest.mark.parametrize("make", MENDED.values(), ids=MENDED)
def test_shutdown_remounts_it(mounted: Mounted, make: Callable[[Mounted], None]) -> None:
    machine = mounted.machine
    staged = machine.upgrade()
    make(mounted)
    assert finalize(machine.host, Silent()).deployment == staged
    assert status(machine.host).problems == []
    assert machine.power_on() == staged
    assert [entry.tries_left for entry in list_entries(machine.sysroot).entries] == [None, None]


def test_shutdown_that_cannot_mend_it_is_remembered(mounted: Mounted) -> None:
    machine = mounted.machine
    staged = machine.upgrade()
    _remounted(mounted)
    with (
        _protected(mounted.device),
        pytest.raises(BootPartitionReadOnlyError, match="it could not be remounted: mount ended"),
    ):
        finalize(machine.host, Silent())
    failure = status(machine.host).finalize_failure
    assert failure is not None
    assert "could not be remounted" in failure
    assert finalize(machine.host, Silent()).deployment == staged


def test_folder_of_a_larger_file_system_is_not_remounted(tmp_path: Path) -> None:
    sysroot = installed(tmp_path / "machine").sysroot
    whole = tmp_path / "machine"
    tool("mount", "--bind", whole, whole)
    try:
        tool("mount", "-o", "remount,bind,ro", whole)
        with pytest.raises(BootPartitionReadOnlyError, match="a folder of a file system that is"):
            make_writable(sysroot)
        assert is_read_only(sysroot)
    finally:
        tool("umount", whole)


def test_full_table_of_inodes_is_told_when_staging(mounted: Mounted) -> None:
    for number in range(64):
        try:
            (mounted.boot / f"file-{number}").touch()
        except OSError:
            break
    with pytest.raises(BootPartitionFullError, match="it takes no more files"):
        mounted.machine.upgrade()


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveDisk]:
    with live_disk(tmp_path, monkeypatch) as found:
        found.tree.disk("sda")
        yield found


def test_mount_that_is_read_only_beside_a_writable_file_system_is_in_nobody_s_way(
    live: LiveDisk,
) -> None:
    esp = live.partition("sda")
    live.say("LoaderDevicePartUUID", UUIDS[1])
    live.fill(esp)
    boot = live.mount(esp, "boot")
    tool("mount", "-o", "remount,bind,ro", boot)
    with live.opened() as host:
        assert status(host).problems == []
        assert stage(host, Silent()).changed


def test_write_protected_device_is_told(live: LiveDisk) -> None:
    esp = live.partition("sda")
    live.say("LoaderDevicePartUUID", UUIDS[1])
    live.fill(esp)
    with _protected(esp), live.opened() as host:
        assert status(host).problems == [f"the boot partition {esp} is read-only"]
        with pytest.raises(BootPartitionReadOnlyError, match=f"{esp} is read-only: it is mounted"):
            stage(host, Silent())


def test_partition_that_somebody_mounted_read_only_is_remounted_at_shutdown(
    live: LiveDisk,
) -> None:
    esp = live.partition("sda")
    live.say("LoaderDevicePartUUID", UUIDS[1])
    live.fill(esp)
    with live.opened() as host:
        staged = stage(host, Silent()).deployment
    boot = live.mount(esp, "boot", "ro")
    with live.opened() as host:
        assert status(host).problems == [f"the boot partition {esp} is read-only"]
        with pytest.raises(BootPartitionReadOnlyError) as caught:
            rollback(host, Silent(), target=live.machine.sysroot.booted())
        assert f"remount,rw {boot}'" in caught.value.hint
        assert finalize(host, Silent()).deployment == staged
    with live.opened() as host:
        assert status(host).problems == []
