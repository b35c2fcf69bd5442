"""The disk fills up at whatever moment: the machine stays as it was, and room brings it on.

The store, or ``$BOOT``, is a small ext4 image, filled so that a varying number of blocks is left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.machine import Machine, installed, publish

from bootd.model.errors import BootPartitionFullError, NoSpaceError
from bootd.operations.finalize import finalize
from bootd.operations.fsck import fsck
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.stage import stage
from bootd.operations.status import status

SIZE = 96 << 20
BLOCK = 4_096


@contextmanager
def small_disk(folder: Path, *, inodes: int = 4_000) -> Iterator[Path]:
    """Mount a small ext4 file system without reserved blocks."""
    image, target = folder / "disk.img", folder / "disk"
    target.mkdir()
    with image.open("wb") as stream:
        stream.truncate(SIZE)
    for command in (
        ["mkfs.ext4", "-q", "-m", "0", "-N", str(inodes), "-O", "^has_journal", str(image)],
        ["mount", "-o", "loop", str(image), str(target)],
    ):
        subprocess.run(command, check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)


def leave_free(folder: Path, size: int) -> Path:
    """Fill the file system of a folder so that about `size` bytes are left."""
    filler = folder / "filler"
    with filler.open("wb") as stream:
        # The extents of the filler take blocks themselves, so the last ones come one by one.
        while (free := os.statvfs(folder).f_bavail * BLOCK - size) > 0:
            try:
                os.posix_fallocate(stream.fileno(), stream.seek(0, os.SEEK_END), free)
            except OSError:
                if free == BLOCK:
                    break
                size += BLOCK
    return filler


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[tuple[Machine, Path]]:
    """A machine on v1 on a small disk; v2 unpacks to far more than its size makes one expect."""
    with small_disk(tmp_path) as disk:
        folder = tmp_path / "made"
        folder.mkdir()
        made = installed(folder)
        shutil.copytree(made.folder, disk / "root", symlinks=True)
        swollen = {f"usr/big/{number}": bytes([number]) * (1 << 20) for number in range(1, 9)}
        publish(made.image, "v2", **swollen)
        yield Machine(disk / "root", made.image, configuration=made.configuration), disk


@pytest.mark.parametrize("blocks", [0, 64, 600, 1_500, 2_500])
def test_a_full_store_stops_staging_and_nothing_else(
    prepared: tuple[Machine, Path], blocks: int
) -> None:
    machine, disk = prepared
    before = status(machine.host)
    filler = leave_free(disk, blocks * BLOCK)
    with pytest.raises(NoSpaceError) as caught:
        stage(machine.host, Silent())
    assert "Free room" in caught.value.hint
    after = status(machine.host)
    assert (after.booted, after.staged) == (before.booted, None)
    assert machine.power_on() == before.booted
    filler.unlink()
    machine.upgrade()
    machine.reboot()
    assert not fsck(machine.host, Silent()).damages


@pytest.mark.parametrize("blocks", range(0, 24, 3))
def test_a_full_store_stops_finalizing_before_the_commit(
    prepared: tuple[Machine, Path], blocks: int
) -> None:
    machine, disk = prepared
    before = machine.sysroot.booted()
    assert before is not None
    (machine.etc(before) / "large").write_bytes(os.urandom(20 * BLOCK))
    staged = machine.upgrade()
    filler = leave_free(disk, blocks * BLOCK)
    try:
        finalize(machine.host, Silent())
    except NoSpaceError:
        assert take_survey(machine.sysroot).next_boot == before
        assert machine.power_on() == before
    filler.unlink()
    assert machine.reboot() == staged
    assert (machine.etc(staged) / "large").stat().st_size == 20 * BLOCK
    assert not fsck(machine.host, Silent()).damages


def test_too_few_inodes_are_counted_before_anything_is_fetched(tmp_path: Path) -> None:
    with small_disk(tmp_path, inodes=4_000) as disk:
        folder = tmp_path / "made"
        folder.mkdir()
        made = installed(folder)
        shutil.copytree(made.folder, disk / "root", symlinks=True)
        machine = Machine(disk / "root", made.image, configuration=made.configuration)
        left = disk / "left"
        left.mkdir()
        for number in range(os.statvfs(disk).f_favail - 500):
            (left / str(number)).touch()
        with pytest.raises(NoSpaceError):
            stage(machine.host, Silent())
        shutil.rmtree(left)
        machine.upgrade()


@pytest.mark.parametrize("blocks", [0, 2, 6])
def test_a_full_boot_partition_leaves_the_old_entry(tmp_path: Path, blocks: int) -> None:
    with small_disk(tmp_path) as disk:
        folder = tmp_path / "made"
        folder.mkdir()
        machine = installed(folder)
        shutil.copytree(machine.folder / "boot", disk / "boot")
        shutil.rmtree(machine.folder / "boot")
        (machine.folder / "boot").symlink_to(disk / "boot")
        before = machine.sysroot.booted()
        staged = machine.upgrade()
        filler = leave_free(disk, blocks * BLOCK)
        with pytest.raises(BootPartitionFullError, match="MiB"):
            finalize(machine.host, Silent())
        assert status(machine.host).finalize_failure
        assert machine.power_on() == before
        filler.unlink()
        assert machine.reboot() == staged
