"""Finding the boot partition from what a host shows, without mounting anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bootd.boot.devices.candidates import loader_partition
from bootd.boot.devices.loader_devices import XBOOTLDR_TYPES
from bootd.boot.loader.efi_variables import LOADER_VENDOR, read_variable
from bootd.boot.partition import boot_device, boot_partition
from bootd.boot.proof import require_boot
from bootd.model.errors import NoBootPartitionError
from bootd.sysroot import Sysroot

ESP = "0123abcd-0000-4000-8000-00000000000a"
ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
XBOOTLDR_TYPE = XBOOTLDR_TYPES[0]


def _variable(folder: Path, value: bytes, name: str = "LoaderDevicePartUUID") -> Sysroot:
    sysroot = Sysroot.at(folder)
    sysroot.efi_variables.mkdir(parents=True, exist_ok=True)
    path = sysroot.efi_variables / f"{name}-{LOADER_VENDOR}"
    path.write_bytes(b"\x06\0\0\0" + value)
    return sysroot


def test_the_loader_s_variable(tmp_path):
    assert loader_partition(Sysroot.at(tmp_path)) is None
    value = f"{ESP.upper()}\0".encode("utf-16-le")
    assert loader_partition(_variable(tmp_path, value)) == ESP


def test_a_unified_kernel_s_variable_stands_in(tmp_path):
    stub = "1234ABCD-01\0".encode("utf-16-le")
    assert loader_partition(_variable(tmp_path, stub, "StubDevicePartUUID")) == "1234abcd-01"
    _variable(tmp_path, b"rubbish")
    assert loader_partition(Sysroot.at(tmp_path)) == "1234abcd-01"
    _variable(tmp_path, f"{ESP}\0".encode("utf-16-le"))
    assert loader_partition(Sysroot.at(tmp_path)) == ESP


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
        ([DISK, FIRST, SECOND, OTHER], "/dev/sda1"),
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


LISTINGS = {
    "nothing": b"",
    "no JSON": b"lsblk: /sys: no such folder",
    "another type": b'{"blockdevices": 7}',
    "nested without end": b'{"blockdevices":' + b"[" * 100_000,
    "too long": b" " * (17 << 20),
    "too many": json.dumps({"blockdevices": [DISK] * 50_001}).encode(),
}


@pytest.mark.parametrize("listing", LISTINGS.values(), ids=LISTINGS)
def test_a_listing_that_is_none(listing):
    with pytest.raises(NoBootPartitionError, match="lsblk"):
        boot_device(listing, ESP)


def test_rows_that_hold_other_types_count_as_empty():
    odd = [None, 7, {}, {"path": 7}, {**DISK, "children": 7, "pkname": ["sda"]}, FIRST]
    assert boot_device(json.dumps({"blockdevices": odd}).encode(), ESP) == Path("/dev/sda1")


def test_devices_that_lie_on_each_other_in_a_circle():
    one = _device("/dev/md0", ESP, ESP_TYPE, "md1")
    other = _device("/dev/md1", None, None, "md0")
    listing = json.dumps({"blockdevices": [one, other]}).encode()
    assert boot_device(listing, ESP) in (Path("/dev/md0"), Path("/dev/md1"))


def test_a_folder_needs_no_mount(tmp_path):
    (tmp_path / "boot/loader/entries").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    sysroot = Sysroot.at(tmp_path)
    with boot_partition(sysroot, None, root=tmp_path) as found:
        assert found.boot == tmp_path / "boot"
    configured = tmp_path / "elsewhere"
    with boot_partition(sysroot, configured, root=tmp_path) as found:
        assert found.boot == configured


def test_nothing_to_be_found(tmp_path):
    with boot_partition(Sysroot.at(tmp_path), None, root=tmp_path) as found:
        assert not found.boot.exists()
        with pytest.raises(NoBootPartitionError, match="does not say") as caught:
            require_boot(found)
    assert "boot_partition" in caught.value.hint
