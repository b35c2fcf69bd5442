"""Whose program a file on the EFI system partition is, and under which names bootd puts its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.loader_program import systemd_boot

from bootd.boot.loader.file import is_program, look_at
from bootd.boot.loader.install import (
    LoaderPlaces,
    as_written,
    install_loader,
    is_newer,
    previous_name,
    put_loader,
    replaced_name,
)
from bootd.model.errors import BootPartitionFullError
from bootd.sysroot import Sysroot

USUAL = "EFI/systemd/systemd-bootx64.efi"
REMOVABLE = "EFI/BOOT/BOOTX64.EFI"
BOOTDS = "EFI/bootd/systemd-bootx64.efi"


def sysroot_at(folder: Path) -> Sysroot:
    sysroot = Sysroot.at(folder)
    sysroot.initialise()
    return sysroot


def put_in(sysroot: Sysroot, data: bytes, architecture: str = "x86_64") -> LoaderPlaces:
    return install_loader(sysroot, data, architecture)


def put_others(sysroot: Sysroot, name: str, data: bytes) -> Path:
    path = sysroot.boot / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "description", "version"),
    [
        (systemd_boot("257.8-1~deb13u2"), "systemd-boot 257.8-1~deb13u2", "257.8-1~deb13u2"),
        (systemd_boot("257", product="systemd-stub"), "systemd-stub 257", None),
        (b"MZ" + bytes(90) + b"sbat,1,x\nshim,4,UEFI shim,shim,1\n", "shim", None),
        (b"MZ a boot loader", "another program", None),
        (b"#### LoaderInfo: systemd-boot 257", "no program that firmware starts", None),
        (b"", "no program that firmware starts", None),
    ],
)
def test_a_program_says_what_it_is(data: bytes, description: str, version: str | None) -> None:
    found = look_at(data)
    assert (found.description, found.version) == (description, version)


@pytest.mark.parametrize(
    ("offered", "installed", "newer"),
    [
        ("257.8-1~deb13u3", "257.8-1~deb13u2", True),
        ("257.8-1~deb13u2", "257.8-1", False),
        ("258~rc1", "258", False),
        ("257.13", "258", False),
        ("10", "9", True),
    ],
)
def test_versions_compare_as_systemd_compares_them(
    offered: str, installed: str, newer: bool
) -> None:
    written = [as_written(look_at(systemd_boot(installed)))]
    assert is_newer(as_written(look_at(systemd_boot(offered))), written) is newer


def test_what_does_not_say_that_it_is_older_is_taken() -> None:
    one, other = (as_written(look_at(data)) for data in (b"MZ 1", b"MZ 2"))
    versioned = as_written(look_at(systemd_boot("258")))
    rebuilt = as_written(look_at(systemd_boot("258") + b"1"))
    assert is_newer(one, [other])
    assert is_newer(one, [versioned])
    assert is_newer(versioned, [one])
    assert is_newer(rebuilt, [versioned])
    assert not is_newer(one, [one])
    # It had to make room for the other one: a machine that went back to its image keeps that.
    assert not is_newer(one, [other, one])


def test_a_program_is_whole_with_all_its_sections() -> None:
    data = systemd_boot("258")
    assert is_program(data)
    assert not is_program(data[:-1])
    assert not is_program(data[:0x90])
    assert not is_program(b"MZ")
    assert not is_program(b"")


def test_a_signature_is_seen() -> None:
    assert look_at(systemd_boot("1", signed=True)).signed is True
    assert look_at(systemd_boot("1")).signed is False
    assert look_at(systemd_boot("1")[:0x90]).signed is None
    assert look_at(b"MZ" + b"\xff" * 100).signed is None


def test_an_empty_partition_gets_both_usual_names(tmp_path: Path) -> None:
    sysroot = sysroot_at(tmp_path)
    assert put_in(sysroot, b"MZ one") == LoaderPlaces((USUAL, REMOVABLE), ())
    assert (sysroot.boot / USUAL).read_bytes() == (sysroot.boot / REMOVABLE).read_bytes()
    arm = put_in(sysroot, b"MZ two", "aarch64")
    assert arm.names == ("EFI/systemd/systemd-bootaa64.efi", "EFI/BOOT/BOOTAA64.EFI")
    assert (sysroot.boot / REMOVABLE).read_bytes() == b"MZ one"


@pytest.mark.parametrize(
    ("theirs", "names"),
    [
        ({REMOVABLE: b"MZ shim"}, (USUAL,)),
        ({USUAL: systemd_boot("999")}, (BOOTDS, REMOVABLE)),
        ({USUAL: systemd_boot("1")}, (BOOTDS, REMOVABLE)),
        ({USUAL: systemd_boot("257"), REMOVABLE: b"not even a program"}, (BOOTDS,)),
        ({USUAL: b"MZ ours"}, (BOOTDS, REMOVABLE)),
        ({"efi/Boot/bootx64.efi": b"MZ Windows made it"}, ("efi/systemd/systemd-bootx64.efi",)),
        ({"EFI/Systemd/SYSTEMD-BOOTX64.EFI": b"MZ"}, (BOOTDS, REMOVABLE)),
        ({USUAL: b"", REMOVABLE: b""}, (USUAL, REMOVABLE)),
    ],
)
def test_programs_of_others_stay(
    tmp_path: Path, theirs: dict[str, bytes], names: tuple[str, ...]
) -> None:
    sysroot = sysroot_at(tmp_path)
    paths = {put_others(sysroot, name, data): data for name, data in theirs.items()}
    places = put_in(sysroot, b"MZ ours")
    assert places.names == names
    for name in names:
        assert (sysroot.boot / name).read_bytes() == b"MZ ours"
    kept = {path: data for path, data in paths.items() if data}
    assert all(path.read_bytes() == data for path, data in kept.items())
    assert len(places.others) == len(kept)
    written = [path for path in sysroot.boot.rglob("*") if path.is_file()]
    assert len(written) == len(names) + len(kept)


def test_a_folder_in_the_way_stays(tmp_path: Path) -> None:
    sysroot = sysroot_at(tmp_path)
    (sysroot.boot / REMOVABLE).mkdir(parents=True)
    places = put_in(sysroot, b"MZ ours")
    assert places == LoaderPlaces(
        (USUAL,), (f"{REMOVABLE} is a folder of another system and stays",)
    )


def test_what_bootd_wrote_is_its_own_without_a_version(tmp_path: Path) -> None:
    sysroot = sysroot_at(tmp_path)
    put_in(sysroot, b"MZ one")
    places = put_in(sysroot, b"MZ two")
    assert places == LoaderPlaces((USUAL, REMOVABLE), ())
    assert (sysroot.boot / REMOVABLE).read_bytes() == b"MZ two"
    assert (sysroot.boot / previous_name(USUAL)).read_bytes() == b"MZ one"
    assert not (sysroot.boot / replaced_name(USUAL)).exists()
    written = sysroot.read_loader().written
    assert [one.sha256 for one in written] == [
        look_at(data).sha256 for data in (b"MZ two", b"MZ one")
    ]


def test_what_is_not_its_own_is_kept_aside_when_it_has_to_go(tmp_path: Path) -> None:
    sysroot = sysroot_at(tmp_path)
    put_in(sysroot, b"MZ one")
    put_others(sysroot, REMOVABLE, b"garbled")
    put_loader(sysroot, sysroot.read_loader(), b"MZ one")
    assert (sysroot.boot / REMOVABLE).read_bytes() == b"MZ one"
    assert (sysroot.boot / replaced_name(REMOVABLE)).read_bytes() == b"garbled"
    assert not (sysroot.boot / previous_name(USUAL)).exists()


def test_without_room_nothing_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sysroot = sysroot_at(tmp_path)
    put_in(sysroot, b"MZ one")
    record = sysroot.read_loader()
    monkeypatch.setattr("bootd.boot.loader.install._RESERVE", 1 << 60)
    with pytest.raises(BootPartitionFullError, match=r"needs [0-9]+ KiB on the boot partition"):
        put_in(sysroot, b"MZ two")
    assert (sysroot.boot / USUAL).read_bytes() == b"MZ one"
    assert sysroot.read_loader() == record
    assert put_in(sysroot, b"MZ one").names == (USUAL, REMOVABLE)
