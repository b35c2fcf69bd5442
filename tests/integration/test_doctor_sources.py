"""What ``doctor`` learns of disks from lsblk(8), and of a machine that has an image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.block_tree import ROOT_TYPE, XBOOTLDR_TYPE, BlockTree
from support.machine import installed

from bootd.boot.devices.block_devices import BlockDevices
from bootd.boot.devices.mounts import Mount
from bootd.operations.doctor import sources
from bootd.operations.progress import Silent
from bootd.operations.stage import stage


def test_disks_are_seen_through_what_lies_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = BlockTree(tmp_path)
    for disk in ("sda", "sdb"):
        tree.disk(disk)
        tree.part(disk, f"{disk}1")
        tree.part(disk, f"{disk}2", kind=ROOT_TYPE, content="linux_raid_member")
    tree.part("sda", "sda3", kind=XBOOTLDR_TYPE, number="8:103")
    tree.array("md0", "sda2", "sdb2", content="crypto_LUKS")
    tree.mapping("dm-0", "root", "crypt", "md0", content="ext4")
    devices = BlockDevices(tree.listing())
    number = next(one.number for one in devices if one.name == "dm-0")
    monkeypatch.setattr(sources, "mount_of", lambda _: Mount(Path("/"), number, "root", "ext4"))
    monkeypatch.setattr(sources, "mounts", lambda: [Mount(tmp_path, "8:103", "/dev/sda3", "vfat")])
    root = sources._root(devices, Path("/"))
    assert root is not None
    assert root.layers >= {"crypt", "raid1", "part", "disk"}
    partitions = sources._boot_partitions(devices)
    places = {one.device: one for one in partitions}
    assert {name: one.point for name, one in places.items()} == {
        "/dev/sda1": None,
        "/dev/sda3": str(tmp_path),
        "/dev/sdb1": None,
    }
    assert places["/dev/sda3"].free == os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize


def test_a_machine_of_bootds_is_asked_what_holds_updates(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    stage(machine.host, Silent())
    found = sources._updates(machine.host)
    assert (found.image, found.staged, found.held_by) == (machine.reference, True, None)
    (machine.sysroot.intent_file).write_text("damaged")
    assert sources._updates(machine.host).problems
