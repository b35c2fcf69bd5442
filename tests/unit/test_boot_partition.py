"""Finding the boot partition from what a host shows, without mounting anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bootd.boot.efi_variables import LOADER_VENDOR, read_variable
from bootd.boot.partition import (
    XBOOTLDR_TYPE,
    boot_device,
    boot_partition,
    loader_partition,
    mounted_boot,
)
from bootd.model.errors import NoBootPartitionError
from bootd.sysroot import Sysroot

ESP = "0123abcd-0000-4000-8000-00000000000a"
ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ([], None),
        (["boot"], None),
        (["boot/loader/entries"], "boot"),
        (["efi/loader/entries", "boot/efi/loader/entries"], "efi"),
        (["boot/efi/loader/entries"], "boot/efi"),
    ],
)
def test_usual_mount_points(tmp_path, folders, expected):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    assert mounted_boot(tmp_path) == (None if expected is None else tmp_path / expected)


def _variable(folder: Path, value: bytes) -> Sysroot:
    sysroot = Sysroot.at(folder)
    sysroot.efi_variables.mkdir(parents=True, exist_ok=True)
    path = sysroot.efi_variables / f"LoaderDevicePartUUID-{LOADER_VENDOR}"
    path.write_bytes(b"\x06\0\0\0" + value)
    return sysroot


def test_the_loader_s_variable(tmp_path):
    assert loader_partition(Sysroot.at(tmp_path)) is None
    value = f"{ESP.upper()}\0".encode("utf-16-le")
    assert loader_partition(_variable(tmp_path, value)) == ESP


def test_a_variable_that_cannot_be_read_counts_as_none(tmp_path):
    sysroot = _variable(tmp_path, b"")
    [path] = sysroot.efi_variables.iterdir()
    path.unlink()
    path.mkdir()
    assert read_variable(sysroot, "LoaderDevicePartUUID") is None
    assert read_variable(sysroot, "LoaderEntryDefault") is None


@pytest.mark.parametrize(
    "value", [b"", b"\xff", ESP.encode(), "../../sda1\0".encode("utf-16-le"), b"\0" * 5_000]
)
def test_a_variable_that_holds_no_uuid(tmp_path, value):
    with pytest.raises(NoBootPartitionError, match="LoaderDevicePartUUID"):
        loader_partition(_variable(tmp_path, value))


def _device(path: str, partuuid: str | None, parttype: str | None, pkname: str | None):
    return {"path": path, "partuuid": partuuid, "parttype": parttype, "pkname": pkname}


DISK = _device("/dev/sda", None, None, None)
FIRST = _device("/dev/sda1", ESP, ESP_TYPE, "sda")
SECOND = _device("/dev/sda2", ESP[:-1] + "b", XBOOTLDR_TYPE.upper(), "sda")
OTHER = _device("/dev/sdb2", ESP[:-1] + "c", XBOOTLDR_TYPE, "sdb")


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([DISK, FIRST], "/dev/sda1"),
        ([DISK, FIRST, SECOND, OTHER], "/dev/sda2"),
        ([OTHER, FIRST], "/dev/sda1"),
        ([{**FIRST, "pkname": None}, {**OTHER, "pkname": None}], "/dev/sda1"),
    ],
)
def test_the_device(devices, expected):
    listing = json.dumps({"blockdevices": devices}).encode()
    assert boot_device(listing, ESP) == Path(expected)


def test_a_partition_that_is_gone():
    listing = json.dumps({"blockdevices": [DISK, OTHER]}).encode()
    with pytest.raises(NoBootPartitionError, match=ESP):
        boot_device(listing, ESP)


def test_a_folder_needs_no_mount(tmp_path):
    (tmp_path / "boot/loader/entries").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    sysroot = Sysroot.at(tmp_path)
    with boot_partition(sysroot, None, root=tmp_path) as found:
        assert found == tmp_path / "boot"
    configured = tmp_path / "elsewhere"
    with boot_partition(sysroot, configured, root=tmp_path) as found:
        assert found == configured


def test_nothing_to_be_found(tmp_path):
    with (
        pytest.raises(NoBootPartitionError, match="does not say") as caught,
        boot_partition(Sysroot.at(tmp_path), None, root=tmp_path),
    ):
        pass
    assert "boot_partition" in caught.value.hint
