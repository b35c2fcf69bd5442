"""The durable-write gateway: the order of its steps, and what a failure leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.power import LOSSES, CutDisk, Loss, PowerCut

from bootd import durable
from bootd.durable import TEMPORARY_PREFIX, Disk, storage_errors
from bootd.model.errors import NoSpaceError, WriteFailedError


@pytest.fixture
def disk(tmp_path: Path) -> CutDisk:
    return CutDisk(tmp_path / "limbo")


def test_a_record_is_written_synced_renamed_and_its_folder_synced(
    disk: CutDisk, tmp_path: Path
) -> None:
    disk.replace_file(tmp_path / "record", b"new")
    assert [step.split()[0] for step in disk.steps] == ["write", "rename", "fsync"]
    assert (tmp_path / "record").read_bytes() == b"new"
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o600


def test_a_folder_is_synced_before_it_gets_its_name(disk: CutDisk, tmp_path: Path) -> None:
    (tmp_path / "building").mkdir()
    disk.publish_directory(tmp_path / "building", tmp_path / "done")
    assert [step.split()[0] for step in disk.steps] == ["syncfs", "rename", "fsync"]


def test_a_folder_loses_its_name_before_its_content(disk: CutDisk, tmp_path: Path) -> None:
    (tmp_path / "old/inner").mkdir(parents=True)
    disk.remove_tree(tmp_path / "old")
    assert [step.split()[0] for step in disk.steps] == ["rename", "fsync", "rmtree"]
    assert not (tmp_path / "old").exists()


def test_removing_what_is_not_there_does_nothing(disk: CutDisk, tmp_path: Path) -> None:
    disk.remove_tree(tmp_path / "nothing")
    disk.remove_file(tmp_path / "nothing")
    assert disk.steps == ["unlink nothing", f"fsync {tmp_path.name}"]


@pytest.mark.parametrize("vfat", [False, True])
def test_a_sync_of_vfat_empties_the_disk_s_cache_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, vfat: bool
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(durable, "_is_vfat", lambda _descriptor: vfat)
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    Disk().sync_filesystem(tmp_path)
    assert synced == ([tmp_path.stat().st_ino] if vfat else [])


@pytest.mark.parametrize("loss", ["killed", "torn", "lost"])
@pytest.mark.parametrize("cut", range(3))
def test_a_cut_leaves_the_old_record_or_the_new_one(tmp_path: Path, cut: int, loss: str) -> None:
    path = tmp_path / "record"
    Disk().replace_file(path, b"old")
    disk = CutDisk(tmp_path / "limbo", cut)
    with pytest.raises(PowerCut):
        disk.replace_file(path, b"new")
    disk.lose(loss)  # type: ignore[arg-type]
    assert path.read_bytes() in ((b"old",) if cut < 2 else (b"old", b"new"))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("cut", range(3))
def test_a_cut_leaves_a_whole_file_on_vfat(tmp_path: Path, cut: int, loss: Loss) -> None:
    path = tmp_path / "boot/loader"
    path.parent.mkdir()
    path.write_bytes(b"old")
    disk = CutDisk(tmp_path / "limbo", cut)
    with pytest.raises(PowerCut):
        disk.replace_kept(path, b"new")
    disk.lose(loss)
    assert path.read_bytes() in ((b"old",) if cut < 2 else (b"old", b"new"))


def test_a_failed_write_leaves_the_old_record_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "record"
    disk = Disk()
    disk.replace_file(path, b"old")

    def broken() -> object:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(NoSpaceError, match="record"):
        disk.replace_file_from(path, broken())  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["record"]


def test_a_copy_keeps_content_and_takes_the_mode(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 << 20))
    Disk().copy_file(source, tmp_path / "copy", 0o644)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_a_symlink_under_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (tmp_path / f"{TEMPORARY_PREFIX}{os.getpid()}-record").symlink_to(victim)
    with pytest.raises(WriteFailedError):
        Disk().replace_file(tmp_path / "record", b"new")
    assert victim.read_bytes() == b"untouched"


@pytest.mark.parametrize(
    ("number", "kind"), [(28, NoSpaceError), (122, NoSpaceError), (5, WriteFailedError)]
)
def test_errors_of_the_kernel_become_ours(number: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="cannot write /there"), storage_errors("write", Path("/there")):
        raise OSError(number, "as the kernel says")
