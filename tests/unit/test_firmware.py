"""The firmware's own boot entries: made once, first in the order, told where they cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.efibootmgr import OTHERS, UUID, VERSIONS, StandIn, efibootmgr_in

from bootd.boot.devices.block_device import ESP_TYPE, DiskPartition
from bootd.boot.loader.firmware import Firmware
from bootd.model.documents import FirmwareEntry
from bootd.model.errors import NoFirmwareError

PARTITION = DiskPartition(Path("/dev/absent"), 1, UUID, ESP_TYPE)
LOADER = "EFI/systemd/systemd-bootx64.efi"


@pytest.fixture(params=VERSIONS)
def efibootmgr(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StandIn:
    return efibootmgr_in(tmp_path, monkeypatch, request.param)


def enter() -> FirmwareEntry:
    return Firmware().enter(PARTITION, LOADER)


@pytest.mark.checkout
def test_an_entry_is_made_once(efibootmgr: StandIn) -> None:
    entry = enter()
    assert (entry.number, entry.label, entry.problem) == ("0002", "bootd", None)
    assert (entry.partition, entry.loader) == (UUID, "\\EFI\\systemd\\systemd-bootx64.efi")
    assert efibootmgr.state["order"] == ["0002", "0000", "0004", "0001"]
    [made] = efibootmgr.changes()
    assert made == [
        "--create",
        "--disk",
        "/dev/absent",
        "--part",
        "1",
        "--loader",
        entry.loader,
        "--label",
        "bootd",
    ]
    assert entry.command == (
        "efibootmgr --create --disk /dev/absent --part 1 --loader "
        "'\\EFI\\systemd\\systemd-bootx64.efi' --label bootd"
    )
    assert enter() == entry
    assert efibootmgr.changes() == [made]
    assert sorted(efibootmgr.state["entries"]) == sorted([*OTHERS, efibootmgr.state["entries"][-1]])


@pytest.mark.parametrize("spelling", [str.upper, str.lower])
def test_an_entry_that_is_there_is_first_and_active_again(
    efibootmgr: StandIn, spelling: Callable[[str], str]
) -> None:
    file = efibootmgr.state["file"] % spelling("\\EFI\\systemd\\systemd-bootx64.efi")
    mine = ["000A", "", "Linux Boot Manager", f"HD(1,GPT,{UUID},0x800,0x100000)/{file}"]
    efibootmgr.change(entries=[*OTHERS, mine], order=["0000", "0001", "000A"])
    assert enter().number == "000A"
    state = efibootmgr.state
    assert state["order"] == ["000A", "0000", "0001"]
    assert [entry[1] for entry in state["entries"] if entry[0] == "000A"] == ["*"]
    assert len(state["entries"]) == len(OTHERS) + 1


def test_firmware_without_an_order_gets_one(efibootmgr: StandIn) -> None:
    mine = [
        "0007",
        "*",
        "bootd",
        f"HD(1,GPT,{UUID},0x8,0x1)/File(\\EFI\\systemd\\systemd-bootx64.efi)",
    ]
    efibootmgr.change(entries=[mine], order=[])
    assert enter().number == "0007"
    assert efibootmgr.state["order"] == ["0007"]


def test_what_cannot_be_made_is_told(efibootmgr: StandIn) -> None:
    efibootmgr.change(broken=True)
    entry = enter()
    assert entry.number is None
    assert entry.problem is not None
    assert "No space left on device" in entry.problem
    efibootmgr.change(broken=False, forgets=True)
    assert enter().problem == "the firmware did not keep the entry"


def test_a_missing_program_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    entry = enter()
    assert (entry.number, entry.problem) == (None, "efibootmgr is not installed")
    assert entry.command.startswith("efibootmgr --create --disk /dev/absent --part 1 ")


def test_a_partition_of_an_mbr_goes_by_the_disk_s_signature(efibootmgr: StandIn) -> None:
    path = "HD(2,MBR,0xbc1a2,0x800,0x1)/File(\\EFI\\systemd\\systemd-bootx64.efi)"
    efibootmgr.change(entries=[["0003", "*", "bootd", path]], order=["0003"])
    partition = DiskPartition(Path("/dev/absent"), 2, "000bc1a2-02", "0xef")
    assert Firmware().enter(partition, LOADER).number == "0003"
    assert efibootmgr.changes() == []


@pytest.mark.parametrize(
    ("width", "problem"),
    [(None, "not started by EFI firmware"), ("32\n", "is 32-bit"), ("64\n", None), ("", None)],
)
def test_firmware_that_starts_nothing_of_this_is_refused(
    tmp_path: Path, width: str | None, problem: str | None
) -> None:
    folder = tmp_path / "efi"
    if width is not None:
        folder.mkdir()
        if width:
            (folder / "fw_platform_size").write_text(width)
    if problem is None:
        Firmware(folder).require("x86_64")
        return
    with pytest.raises(NoFirmwareError, match=problem) as raised:
        Firmware(folder).require("x86_64")
    assert "--generic-image" in raised.value.hint
