"""Which device stands for the loader's partition, in listings of the real lsblk(8).

Most of these disks no test machine has, so lsblk reads them from a folder laid out as sysfs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.block_tree import ROOT_TYPE, XBOOTLDR_TYPE, BlockTree

from bootd.boot.devices.block_devices import BlockDevices
from bootd.boot.devices.loader_devices import boot_device, extended_devices
from bootd.model.errors import NoBootPartitionError

UUID = "11111111-aaaa-4aaa-8aaa-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


def _plain(tree: BlockTree) -> None:
    tree.disk("sda")
    tree.part("sda", "sda1", UUID)
    tree.part("sda", "sda2", OTHER, XBOOTLDR_TYPE)


def _nvme(tree: BlockTree) -> None:
    tree.disk("nvme0n1")
    tree.part("nvme0n1", "nvme0n1p1", UUID)


def _dos_table(tree: BlockTree) -> None:
    tree.disk("mmcblk0")
    tree.part("mmcblk0", "mmcblk0p1", "1234abcd-01", "0xef")


def _members(tree: BlockTree, *, assembled: bool) -> None:
    for name, uuid in (("sdb", OTHER), ("sda", UUID)):
        tree.disk(name)
        tree.part(name, f"{name}1", uuid, content="linux_raid_member")
    if assembled:
        tree.array("md127", "sdb1", "sda1")


def _same_uuid_in_both_members(tree: BlockTree) -> None:
    for name in ("sda", "sdb"):
        tree.disk(name)
        tree.part(name, f"{name}1", UUID, content="linux_raid_member")
    tree.array("md0", "sda1", "sdb1")


def _one_member_is_gone(tree: BlockTree) -> None:
    tree.disk("sda")
    tree.part("sda", "sda1", UUID, content="linux_raid_member")
    tree.array("md0", "sda1")


def _firmware_raid(tree: BlockTree, *, partitioned: bool) -> None:
    for name in ("sda", "sdb"):
        tree.disk(name, content="isw_raid_member")
        tree.part(name, f"{name}1", UUID)
    tree.array("md126", "sda", "sdb", content="")
    if partitioned:
        tree.part("md126", "md126p1", UUID)
        tree.part("md126", "md126p2", OTHER, XBOOTLDR_TYPE)


def _multipath(tree: BlockTree, *, partitioned: bool) -> None:
    for name in ("sda", "sdb"):
        tree.disk(name, content="mpath_member")
        tree.part(name, f"{name}1", UUID)
    tree.mapping("dm-0", "mpatha", "mpath", "sda", "sdb")
    if partitioned:
        tree.mapping("dm-1", "mpatha1", "part", "dm-0", uuid=UUID, content="vfat")


def _mapped(tree: BlockTree, kind: str) -> None:
    tree.disk("sda")
    tree.part("sda", "sda1", UUID)
    tree.mapping("dm-0", "boot", kind, "sda1", content="vfat")


def _volumes(tree: BlockTree) -> None:
    _mapped(tree, "dm")
    tree.mapping("dm-1", "other", "dm", "sda1")


def _clone(tree: BlockTree, *names: str) -> None:
    for name in names:
        tree.disk(name)
        tree.part(name, f"{name}1", UUID)


FOUND: dict[str, tuple[Callable[[BlockTree], None], str, str]] = {
    "beside an XBOOTLDR": (_plain, UUID, "/dev/sda1"),
    "UUID in upper case": (_plain, UUID.upper(), "/dev/sda1"),
    "NVMe": (_nvme, UUID, "/dev/nvme0n1p1"),
    "DOS partition table": (_dos_table, "1234ABCD-01", "/dev/mmcblk0p1"),
    "RAID1, first member": (lambda tree: _members(tree, assembled=True), OTHER, "/dev/md127"),
    "RAID1, second member": (lambda tree: _members(tree, assembled=True), UUID, "/dev/md127"),
    "members with one UUID": (_same_uuid_in_both_members, UUID, "/dev/md0"),
    "degraded RAID1": (_one_member_is_gone, UUID, "/dev/md0"),
    "RAID of whole disks": (
        lambda tree: _firmware_raid(tree, partitioned=True),
        UUID,
        "/dev/md126p1",
    ),
    "multipath": (lambda tree: _multipath(tree, partitioned=True), UUID, "/dev/mapper/mpatha1"),
    "linear mapping": (lambda tree: _mapped(tree, "dm"), UUID, "/dev/mapper/boot"),
}


@pytest.mark.parametrize(("make", "uuid", "path"), FOUND.values(), ids=FOUND)
def test_device_to_mount(
    tmp_path: Path, make: Callable[[BlockTree], None], uuid: str, path: str
) -> None:
    tree = BlockTree(tmp_path)
    make(tree)
    assert boot_device(tree.listing(), uuid) == Path(path)


REFUSED: dict[str, tuple[Callable[[BlockTree], None], str]] = {
    "gone": (lambda tree: tree.disk("sda"), "came from partition .*, which no block device has"),
    "RAID not assembled": (
        lambda tree: _members(tree, assembled=False),
        "/dev/sda1 is a member of a RAID array that is not assembled",
    ),
    "RAID of whole disks without partitions": (
        lambda tree: _firmware_raid(tree, partitioned=False),
        "/dev/sda1 is on /dev/sda, which is a part of /dev/md126, and that has no such partition",
    ),
    "multipath without partitions": (
        lambda tree: _multipath(tree, partitioned=False),
        "/dev/sda1 is on /dev/sda, which is a part of /dev/mapper/mpatha",
    ),
    "encrypted": (
        lambda tree: _mapped(tree, "crypt"),
        "/dev/mapper/boot on /dev/sda1 is encrypted, which no firmware reads",
    ),
    "volume of LVM": (
        lambda tree: _mapped(tree, "lvm"),
        "/dev/mapper/boot on /dev/sda1 is a volume of LVM, which no firmware reads",
    ),
    "two mappings": (
        _volumes,
        "/dev/sda1 is a part of /dev/mapper/boot and /dev/mapper/other, and not of one alone",
    ),
    "two with one UUID": (
        lambda tree: _clone(tree, "sda", "sdb"),
        "/dev/sda1 and /dev/sdb1 have the same partition UUID",
    ),
}


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED)
def test_refused_with_a_sentence_of_its_own(
    tmp_path: Path, make: Callable[[BlockTree], None], said: str
) -> None:
    tree = BlockTree(tmp_path)
    make(tree)
    with pytest.raises(NoBootPartitionError, match=said):
        boot_device(tree.listing(), UUID)


def test_disk_that_is_a_member_of_what_is_not_set_up(tmp_path: Path) -> None:
    for kind, said in {
        "isw_raid_member": "/dev/sda, which is a member of a RAID array that is not assembled",
        "mpath_member": "/dev/sda, which is a path of a multipath device that is not set up",
    }.items():
        tree = BlockTree(tmp_path / kind)
        tree.disk("sda", content=kind)
        tree.part("sda", "sda1", UUID)
        with pytest.raises(NoBootPartitionError, match=said):
            boot_device(tree.listing(), UUID)


@pytest.mark.parametrize("content", ["crypto_LUKS", "LVM2_member", "swap"])
def test_partition_that_holds_no_file_system(tmp_path: Path, content: str) -> None:
    tree = BlockTree(tmp_path)
    tree.disk("sda")
    tree.part("sda", "sda1", UUID, content=content)
    with pytest.raises(NoBootPartitionError, match=f"/dev/sda1 holds {content}"):
        boot_device(tree.listing(), UUID)


def test_of_clones_the_one_on_the_root_s_disks_is_meant(tmp_path: Path) -> None:
    tree = BlockTree(tmp_path)
    _clone(tree, "sda", "sdb", "sdc")
    assert boot_device(tree.listing(), UUID, {"sdb", "sdd"}) == Path("/dev/sdb1")
    for disks in ({"sda", "sdb"}, {"sdd"}):
        with pytest.raises(NoBootPartitionError, match="/dev/sda1 and /dev/sdb1 and /dev/sdc1"):
            boot_device(tree.listing(), UUID, disks)


def test_disks_below_the_root_are_seen_through_arrays_and_volumes(tmp_path: Path) -> None:
    tree = BlockTree(tmp_path)
    for name in ("sda", "sdb"):
        tree.disk(name)
        tree.part(name, f"{name}2", kind=ROOT_TYPE, content="linux_raid_member")
    tree.array("md1", "sda2", "sdb2", content="crypto_LUKS")
    tree.mapping("dm-0", "luks", "crypt", "md1", content="LVM2_member")
    tree.mapping("dm-1", "vg-root", "lvm", "dm-0", content="btrfs")
    devices = BlockDevices(tree.listing())
    [root] = devices.named({"dm-1"})
    assert devices.disks(root) == {"sda", "sdb"}


def _extended(tree: BlockTree, esp: str) -> list[str]:
    devices = BlockDevices(tree.listing())
    [device] = devices.named({esp})
    return [one.path for one in extended_devices(devices, device)]


def test_extended_partitions_of_the_same_disk_only(tmp_path: Path) -> None:
    tree = BlockTree(tmp_path)
    _plain(tree)
    tree.disk("sdb")
    tree.part("sdb", "sdb1", OTHER, XBOOTLDR_TYPE)
    tree.part("sda", "sda3", OTHER, XBOOTLDR_TYPE, content="crypto_LUKS")
    assert _extended(tree, "sda1") == ["/dev/sda2"]


def test_extended_partition_of_an_array_of_whole_disks(tmp_path: Path) -> None:
    tree = BlockTree(tmp_path)
    _firmware_raid(tree, partitioned=True)
    for name in ("sda", "sdb"):
        tree.part(name, f"{name}2", OTHER, XBOOTLDR_TYPE)
    assert _extended(tree, "md126p1") == ["/dev/md126p2"]
