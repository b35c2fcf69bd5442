"""Halves of a RAID1 with the boot partition: which one the loader used, and what is copied."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.power import PowerCut

from bootd.boot.devices.arrays import BootArray, array_of, made_alike
from bootd.boot.devices.block_devices import BlockDevices
from bootd.durable import Disk
from bootd.model.errors import WriteFailedError
from bootd.sysroot import Sysroot

LOADED = "0123abcd-0000-4000-8000-00000000000a"
OTHER = LOADED[:-1] + "b"
SIZE = (3 << 20) + 4_096
"""Bytes of a half: no whole number of what is compared at once."""


class ArrayOfFiles(Disk):
    """Does what the kernel does with a write to an array: it goes to each half."""

    def __init__(self, halves: list[Path], offset: int = 0) -> None:
        self.halves = halves
        self.offset = offset
        self.places: list[int] = []

    def overwrite(self, device: int, path: Path, place: int, piece: bytes | memoryview) -> None:
        assert path.name == "md127"
        assert os.get_blocking(device)
        self.places.append(place)
        for half in self.halves:
            with half.open("r+b") as stream:
                stream.seek(self.offset + place)
                stream.write(piece)


@dataclass
class Machine:
    """A root folder with two disks, whose first partitions are an array."""

    root: Path
    rows: list[dict[str, str | None]]
    halves: list[Path]

    def member(self, name: str, **facts: str) -> None:
        for fact, value in facts.items():
            path = self.root / f"sys/class/block/md127/md/dev-{name}/{fact}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{value}\n")

    def array(self, partition: str = LOADED, device: str = "md127") -> BootArray | None:
        devices = BlockDevices(json.dumps({"blockdevices": self.rows}).encode())
        [mounted] = devices.named([device])
        return array_of(devices, mounted, partition, self.root)

    def sysroot(self, offset: int = 0) -> tuple[Sysroot, ArrayOfFiles]:
        disk = ArrayOfFiles(self.halves, offset)
        return Sysroot.at(self.root, disk), disk


def _row(path: Path, kind: str, parent: str | None = None, partition: str | None = None):
    return {
        "kname": path.name,
        "path": str(path),
        "type": kind,
        "pkname": parent,
        "partuuid": partition,
    }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    names = ("sda1", "sdb1", "md127")
    rows = [
        _row(tmp_path / "sda", "disk"),
        _row(tmp_path / "sda1", "part", "sda", OTHER),
        _row(tmp_path / "md127", "raid1", "sda1"),
        _row(tmp_path / "sdb", "disk"),
        _row(tmp_path / "sdb1", "part", "sdb", LOADED),
        _row(tmp_path / "md127", "raid1", "sdb1"),
    ]
    for name in names:
        (tmp_path / name).write_bytes(bytes(SIZE))
    machine = Machine(tmp_path, rows, [tmp_path / "sda1", tmp_path / "sdb1"])
    machine.member("sda1", slot="0", offset="0", state="in_sync")
    machine.member("sdb1", slot="1", offset="0", state="in_sync,write_mostly")
    (tmp_path / "sys/class/block/md127/md/metadata_version").write_text("1.0\n")
    return machine


def _write(path: Path, place: int, text: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(text)


def _names(array: BootArray | None) -> tuple[str | None, list[str]]:
    assert array is not None
    loaded = array.loaded.device.name if array.loaded is not None else None
    return loaded, [half.device.name for half in array.others]


def test_the_loader_s_half_wins(machine: Machine, caplog: pytest.LogCaptureFixture):
    [first, second] = machine.halves
    _write(first, 10, b"bootd-1.conf")
    _write(second, 10, b"bootd-1+2-1.conf")
    _write(second, SIZE - 10, b"seed")
    caplog.set_level("INFO", "bootd")
    sysroot, disk = machine.sysroot()
    array = machine.array()
    assert array is not None
    assert made_alike(sysroot, array) == ()
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[10:26] == b"bootd-1+2-1.conf"
    assert first.read_bytes()[-10:-6] == b"seed"
    assert disk.places == [0, 3 << 20]
    assert "differed in" in caplog.text


def test_a_cut_between_two_pieces_is_made_up_for(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    [first, second] = machine.halves
    for place in (10, (2 << 20) + 10):
        _write(first, place, b"older")
        _write(second, place, b"newer")
    sysroot, disk = machine.sysroot()
    really = disk.overwrite

    def cut(device: int, path: Path, place: int, piece: bytes | memoryview) -> None:
        if place:
            raise PowerCut
        really(device, path, place, piece)

    array = machine.array()
    assert array is not None
    with monkeypatch.context() as patch:
        patch.setattr(disk, "overwrite", cut)
        with pytest.raises(PowerCut):
            made_alike(sysroot, array)
    before = second.read_bytes()
    assert first.read_bytes() != before
    assert made_alike(sysroot, array) == ()
    assert first.read_bytes() == second.read_bytes() == before


def test_it_is_done_once_in_a_boot(machine: Machine):
    sysroot, disk = machine.sysroot()
    array = machine.array()
    assert array is not None
    assert made_alike(sysroot, array) == ()
    _write(machine.halves[0], 0, b"by Linux, on its way to the other half")
    assert made_alike(sysroot, array) == ()
    assert disk.places == []


def test_where_the_data_of_a_half_begins(machine: Machine):
    machine.member("sdb1", offset="8")
    [first, second] = machine.halves
    (machine.root / "md127").write_bytes(bytes(1 << 20))
    _write(second, 8 * 512, b"the first byte of the file system")
    sysroot, _ = machine.sysroot()
    array = machine.array()
    assert array is not None
    assert made_alike(sysroot, array) == ()
    assert first.read_bytes().startswith(b"the first byte of the file system")


MEMBERS: dict[str, tuple[Callable[[Machine], None], tuple[str | None, list[str]]]] = {
    "both in sync": (lambda _: None, ("sdb1", ["sda1"])),
    "the loader's is no part any more": (
        lambda machine: machine.member("sdb1", state="faulty"),
        (None, ["sda1"]),
    ),
    "the other one is being rebuilt": (
        lambda machine: machine.member("sda1", state="spare"),
        ("sdb1", []),
    ),
    "a spare without a slot": (
        lambda machine: machine.member("sda1", slot="none"),
        ("sdb1", []),
    ),
}


@pytest.mark.parametrize(("change", "expected"), MEMBERS.values(), ids=MEMBERS)
def test_members(machine: Machine, change: Callable[[Machine], None], expected):
    change(machine)
    assert _names(machine.array()) == expected


def test_an_extended_partition_is_on_the_disk_of_the_loader_s(machine: Machine):
    for row in machine.rows:
        if row["partuuid"] in (LOADED, OTHER):
            row["partuuid"] = None
    machine.rows.append(_row(machine.root / "sdb9", "part", "sdb", LOADED))
    assert _names(machine.array()) == ("sdb1", ["sda1"])


def test_a_partition_of_an_array_of_whole_disks(machine: Machine):
    """Each disk shows the table that is in the array, so that its UUID is there three times."""
    root = machine.root
    machine.rows[:] = [
        _row(root / "sda1", "disk"),
        _row(root / "sda1p1", "part", "sda1", LOADED),
        _row(root / "sdb1", "disk"),
        _row(root / "sdb1p1", "part", "sdb1", LOADED),
        _row(root / "md127", "raid1", "sda1"),
        _row(root / "md127", "raid1", "sdb1"),
        _row(root / "md127p1", "part", "md127", LOADED),
    ]
    start = root / "sys/class/block/md127p1/start"
    start.parent.mkdir(parents=True)
    start.write_text("2048\n")
    array = machine.array(device="md127p1")
    assert _names(array) == ("sda1", ["sdb1"])
    assert array is not None
    assert array.device == root / "md127p1"
    assert array.loaded is not None
    assert array.loaded.offset == 2_048 * 512


@pytest.mark.parametrize("version", ["external:imsm", ""])
def test_what_a_firmware_made_it_writes_itself(machine: Machine, version: str):
    (machine.root / "sys/class/block/md127/md/metadata_version").write_text(version)
    assert machine.array() is None


def test_what_is_no_array(machine: Machine):
    assert machine.array(device="sdb1") is None
    for row in machine.rows:
        if row["kname"] == "md127":
            row["type"] = "raid0"
    assert machine.array() is None


def test_a_half_the_array_does_not_use_is_told(machine: Machine):
    machine.member("sdb1", state="faulty")
    sysroot, disk = machine.sysroot()
    array = machine.array()
    assert array is not None
    [told] = made_alike(sysroot, array)
    assert "md127" in told
    assert "not in sync" in told
    assert made_alike(sysroot, array) == (told,)
    assert disk.places == []


def test_a_half_that_cannot_be_read_is_told_and_holds_nothing_up(machine: Machine):
    machine.halves[0].unlink()
    sysroot, _ = machine.sysroot()
    array = machine.array()
    assert array is not None
    [told] = made_alike(sysroot, array)
    assert "No such file" in told


def test_an_array_that_takes_no_writes_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    sysroot, disk = machine.sysroot()
    _write(machine.halves[0], 0, b"older")

    def refuse(*_: object) -> None:
        raise WriteFailedError("cannot write /dev/md127: Input/output error")

    monkeypatch.setattr(disk, "overwrite", refuse)
    array = machine.array()
    assert array is not None
    [told] = made_alike(sysroot, array)
    assert "Input/output error" in told


def test_an_array_that_is_mounted_is_told_and_tried_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    """The kernel opens a block device that is mounted for nobody else alone (open(2), O_EXCL)."""
    sysroot, _ = machine.sysroot()
    _write(machine.halves[0], 0, b"older")
    array = machine.array()
    assert array is not None
    really = os.open

    def busy(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_EXCL:
            raise OSError(16, "Device or resource busy")
        return really(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", busy)
        [told] = made_alike(sysroot, array)
    assert "mounted before" in told
    assert made_alike(sysroot, array) == ()
    assert machine.halves[0].read_bytes() == machine.halves[1].read_bytes()


def test_a_resync_waits_for_the_copy(machine: Machine):
    """md would copy its first half, which may not be the one with the newest writes."""
    action = machine.root / "sys/class/block/md127/md/sync_action"
    action.write_text("resync\n")
    sysroot, disk = machine.sysroot()
    _write(machine.halves[0], 0, b"older")
    seen: list[str] = []
    really = disk.overwrite

    def overwrite(device: int, path: Path, place: int, piece: bytes | memoryview) -> None:
        seen.append(action.read_text().strip())
        really(device, path, place, piece)

    disk.overwrite = overwrite  # type: ignore[method-assign]
    array = machine.array()
    assert array is not None
    assert made_alike(sysroot, array) == ()
    assert seen == ["frozen"]
    assert action.read_text() == "idle"
