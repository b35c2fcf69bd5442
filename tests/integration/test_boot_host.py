"""The boot partition on a real file system: full, mounted and unmounted; versions against systemd.

Needs root, mount(8), losetup(8) and mkfs.ext4(8), and systemd-analyze.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.boot_tree import boot_entry, entry_names, install_test_kernel, snapshot, store_kernel
from support.loader import use_up_tries

from bootd.boot.entries import (
    bless_entry,
    commit_entry,
    prepare_loader,
    remove_entry,
)
from bootd.boot.entry import BootEntry
from bootd.boot.kernels.kernel import check_boot_space, install_kernel
from bootd.boot.kernels.kernel_folders import kernel_folder
from bootd.boot.listing import list_entries
from bootd.boot.loader.order import compare_versions
from bootd.boot.partition import boot_partition
from bootd.durable import Disk
from bootd.model.errors import (
    BootPartitionFullError,
    WriteFailedError,
)
from bootd.sysroot import Sysroot

NEEDED = {
    "systemd-analyze": "systemd",
    "mount": "mount",
    "losetup": "mount",
    "mkfs.ext4": "e2fsprogs",
}


@pytest.fixture(autouse=True, scope="module")
def needed() -> None:
    assert os.geteuid() == 0, "these tests mount file systems: run them as root"
    for program, package in NEEDED.items():
        assert shutil.which(program), f"install the package {package}, it has {program}"


def run(*words: str | Path) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@settings(max_examples=300, deadline=None)
@given(st.text("0019aAzZ.-~^_+", max_size=8), st.text("0019aAzZ.-~^_+", max_size=8))
@example("6.12.0-1", "6.12.0~rc1-1")
@example("0007", "10000")
def test_versions_compare_as_systemd_compares_them(first, second):
    # Its exit status: 0 equal, 11 newer, 12 older.
    command = ["systemd-analyze", "compare-versions", "--", first, second]
    status = subprocess.run(command, check=False, capture_output=True).returncode
    assert status in (0, 11, 12)
    assert compare_versions(first, second) == {0: 0, 11: 1, 12: -1}[status]


@pytest.fixture
def small_boot(tmp_path) -> Iterator[Sysroot]:
    """A sysroot whose boot partition is 1 MiB."""
    sysroot = Sysroot.at(tmp_path)
    sysroot.initialise()
    sysroot.boot.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", sysroot.boot)
    try:
        yield sysroot
    finally:
        run("umount", sysroot.boot)


def _fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            return


def test_a_full_boot_partition_is_said_before_anything_is_written(small_boot):
    files = store_kernel(small_boot, b"k" * 600_000, b"i" * 600_000, "cd" * 32)
    with pytest.raises(BootPartitionFullError, match=r"needs 1\.4 MiB .* 1\.0 MiB of 1\.0 MiB"):
        check_boot_space(small_boot, files)
    with pytest.raises(BootPartitionFullError):
        install_kernel(small_boot, files)
    assert snapshot(small_boot.boot) == {}


def _own_entry(sysroot: Sysroot) -> BootEntry:
    return replace(boot_entry(1, tries=3), installation=sysroot.installation())


class _FillingDisk(Disk):
    """Somebody else fills the partition after the check."""

    def copy_file(self, source: Path, target: Path, mode: int = 0o600) -> None:
        if target.name == "initrd":
            _fill(target.parents[2])
        super().copy_file(source, target, mode)


def test_a_boot_partition_that_fills_up_while_it_is_written(small_boot):
    files = store_kernel(small_boot, b"k" * 200_000, b"i" * 300_000, "cd" * 32)
    filling = Sysroot.at(small_boot.physical, _FillingDisk())
    with pytest.raises(BootPartitionFullError, match="initrd"):
        install_kernel(filling, files)
    kernel = kernel_folder(small_boot, "cd" * 32).relative_to(small_boot.boot) / "vmlinuz"
    assert sorted(snapshot(small_boot.boot)) == [str(kernel), "filler"]
    (small_boot.boot / "filler").unlink()
    folder = install_kernel(small_boot, files)
    assert (folder / "initrd").read_bytes() == b"i" * 300_000


def test_on_a_full_partition_nothing_is_lost_and_entries_still_change(small_boot):
    install_test_kernel(small_boot)
    old = _own_entry(small_boot)
    commit_entry(small_boot, old)
    _fill(small_boot.boot)
    before = snapshot(small_boot.boot / "loader")
    with pytest.raises(BootPartitionFullError):
        commit_entry(small_boot, boot_entry(2))
    assert snapshot(small_boot.boot / "loader") == before
    bless_entry(small_boot, old)
    use_up_tries(small_boot, old)
    assert list_entries(small_boot).entries[0].tries_left == 0
    (small_boot.boot / "loader/loader.conf").write_bytes(b"")
    _fill(small_boot.boot)
    with pytest.raises(BootPartitionFullError):
        prepare_loader(small_boot)
    remove_entry(small_boot, old)
    assert entry_names(small_boot) == []


def test_a_read_only_boot_partition(small_boot):
    install_test_kernel(small_boot)
    entry = _own_entry(small_boot)
    commit_entry(small_boot, entry)
    run("mount", "-o", "remount,ro", small_boot.boot)
    with pytest.raises(WriteFailedError, match="Read-only file system"):
        bless_entry(small_boot, entry)
    assert list_entries(small_boot).entries == (entry,)


@pytest.fixture
def device(tmp_path) -> Iterator[Path]:
    """A block device with a file system on it."""
    image = tmp_path / "disk.img"
    with image.open("wb") as stream:
        stream.truncate(8 << 20)
    run("mkfs.ext4", "-q", image)
    found = run("losetup", "--find", "--show", image)
    try:
        yield Path(found)
    finally:
        run("losetup", "--detach", found)


def test_a_device_is_mounted_only_while_it_is_used(tmp_path, device):
    sysroot = Sysroot.at(tmp_path)
    with boot_partition(sysroot, device, root=tmp_path) as machine:
        assert machine.boot.parent == sysroot.run
        assert os.path.ismount(machine.boot)
        (machine.boot / "mark").write_text("here")
        options = run("findmnt", "--noheadings", "--output", "VFS-OPTIONS", machine.boot).split(",")
        assert {"rw", "nodev", "noexec", "nosuid", "nosymfollow"} <= set(options)
    assert list(sysroot.run.iterdir()) == []


def test_two_threads_do_not_take_it_from_each_other(tmp_path, device):
    sysroot = Sysroot.at(tmp_path)

    def short() -> None:
        with boot_partition(sysroot, device, root=tmp_path) as other:
            (other.boot / "mark").write_text("here")

    with boot_partition(sysroot, device, root=tmp_path) as machine, ThreadPoolExecutor(1) as pool:
        pool.submit(short).result()
        assert os.path.ismount(machine.boot)
        assert (machine.boot / "mark").read_text() == "here"


def test_a_device_is_unmounted_after_a_failure(tmp_path, device):
    sysroot = Sysroot.at(tmp_path)
    with (
        pytest.raises(BootPartitionFullError),
        boot_partition(sysroot, device, root=tmp_path),
    ):
        raise BootPartitionFullError("full")
    assert list(sysroot.run.iterdir()) == []
