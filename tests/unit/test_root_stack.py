"""A root that an initramfs has to put together is told, with the argument that says how."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bootd.operations.installing.root_stack import stack_warnings

DISK = {"path": "/dev/sda", "type": "disk", "fstype": None, "uuid": None}
LUKS = "0b5a4a0e-7a0c-4b0e-9d0e-2f6c1c1f7a11"
MD = "3386ff85-f501-2621-4a43-5f0612345678"


def part(name: str, holds: str | None = None, uuid: str | None = None) -> dict[str, Any]:
    path = f"/dev/{name}"
    return {"path": path, "type": "part", "fstype": holds, "uuid": uuid, "children": [DISK]}


def on(
    path: str, kind: str, *below: dict[str, Any], uuid: str = "of-what-is-in-it"
) -> dict[str, Any]:
    return {"path": path, "type": kind, "fstype": "x", "uuid": uuid, "children": list(below)}


def warned(device: dict[str, Any], *arguments: str) -> list[str]:
    return stack_warnings(json.dumps({"blockdevices": [device]}).encode(), arguments)


CRYPT = on("/dev/mapper/root", "crypt", part("sda2", "crypto_LUKS", LUKS))
VOLUME = on("/dev/mapper/my--group-the--root", "lvm", part("sda2", "LVM2_member", "x-1"))
ARRAY = on(
    "/dev/md0",
    "raid1",
    *(part(name, "linux_raid_member", MD) for name in ("sda2", "sdb2")),
)
MULTIPATH = on("/dev/mapper/mpatha2", "part", on("/dev/mapper/mpatha", "mpath", DISK))


@pytest.mark.parametrize(
    ("device", "what", "argument"),
    [
        (CRYPT, "dm-crypt, /dev/mapper/root", f"rd.luks.name={LUKS}=root"),
        (VOLUME, "LVM, /dev/mapper/my--group-the--root", "rd.lvm.lv=my-group/the-root"),
        (ARRAY, "md RAID, /dev/md0", "rd.md.uuid=3386ff85:f5012621:4a435f06:12345678"),
        (MULTIPATH, "multipath, /dev/mapper/mpatha", "rd.multipath=1"),
    ],
)
def test_each_layer_is_named_with_its_argument(
    device: dict[str, Any], what: str, argument: str
) -> None:
    [warning] = warned(device, "root=UUID=1", "rw")
    assert what in warning
    assert warning.endswith(f"--kernel-argument {argument}.")
    assert warned(device, argument) == []
    assert warned(device, "rd.auto") == []


def test_an_argument_of_the_same_kind_is_somebody_s_word() -> None:
    assert warned(CRYPT, f"rd.luks.uuid={LUKS}") == []
    assert len(warned(CRYPT, "rd.lvm.lv=a/b")) == 1


def test_layers_on_layers_are_each_told() -> None:
    stack = on("/dev/mapper/vg-root", "lvm", on("/dev/mapper/pv", "crypt", ARRAY, uuid="pv-id"))
    first, second, third = warned(stack)
    assert "rd.lvm.lv=vg/root" in first
    assert "rd.luks.name=of-what-is-in-it=pv" in second
    assert "rd.md.uuid=" in third


@pytest.mark.parametrize("device", [part("sda2"), on("/dev/loop0", "loop"), DISK])
def test_a_plain_partition_needs_nothing(device: dict[str, Any]) -> None:
    assert warned(device) == []
