"""What is decided before a disk is touched: settings, the partition table, who uses a disk."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.machine import Machine, publish

from bootd.boot.devices.block_device import ESP_TYPE
from bootd.boot.loader.firmware import Firmware
from bootd.boot.loader.install import LOADER_FOLDER, find_loader
from bootd.cli.install import add_settings, run_installation
from bootd.cli.output import Output
from bootd.durable import Disk
from bootd.model.documents import InstallDocument
from bootd.model.errors import (
    BootdError,
    CancelledError,
    InvalidArgumentError,
    InvalidReferenceError,
    InvalidTreeError,
    NoBootLoaderError,
    NoSpaceError,
)
from bootd.model.tree import Directory, Metadata, Node, RegularFile, Symlink, lookup
from bootd.operations.install_settings import (
    MAX_KEYS,
    Settings,
    add_root_keys,
    resolve,
    write_identity,
)
from bootd.operations.installing.disk_layout import (
    ESP_BYTES,
    MINIMUM_ROOT,
    ROOT_TYPES,
    UNFINISHED,
    Partition,
    check_size,
    is_unfinished,
    partitions_in,
    signatures_in,
    table_script,
    users_in,
)
from bootd.operations.installing.target import RootFileSystem
from bootd.operations.progress import Silent
from bootd.operations.stage import stage
from bootd.store.images.host_layout import HostLayout

KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKq0v2yq5m1uJ8m6o0xw0y0xJr3w2cQkQ1rXl3b5s7tU me\n"
OTHER = b'from="10.0.0.1" ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY= you'
GOOD = Settings(image="registry.example/os:stable")


def folder(**entries: Node) -> Directory:
    return Directory(Metadata(), {name.encode(): node for name, node in entries.items()})


def link(target: str) -> Symlink:
    return Symlink(Metadata(), target.encode())


def file(content: bytes) -> RegularFile:
    return RegularFile(Metadata(), len(content), content=content)


class Inline:
    def read(self, node: RegularFile) -> bytes:
        assert node.content is not None
        return node.content


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"follow": "registry.example/os:testing"},
        {"image": "oci:/somewhere/image:latest"},
        {"kernel_arguments": ("console=ttyS0", 'module.text="two words"', "quiet")},
        {"root_keys": KEY},
        {"root_keys": b"# mine\n\n" + KEY + OTHER},
        {"hostname": "web1"},
        {"hostname": "Web-1.example.org"},
    ],
)
def test_settings_that_can_be_meant(changes: dict[str, Any]) -> None:
    replace(GOOD, **changes).check()


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"image": "os"}, InvalidReferenceError, "registry"),
        ({"follow": "os"}, InvalidReferenceError, "registry"),
        ({"kernel_arguments": ("two words",)}, InvalidArgumentError, "not one kernel argument"),
        ({"kernel_arguments": ("",)}, InvalidArgumentError, "not one kernel argument"),
        ({"kernel_arguments": ('open="quote',)}, InvalidArgumentError, "not closed"),
        ({"kernel_arguments": ("a\nb",)}, InvalidArgumentError, "printable"),
        ({"kernel_arguments": ("bootd=1",)}, InvalidArgumentError, "for bootd to say"),
        ({"kernel_arguments": ("a" * 3_000,)}, InvalidArgumentError, "3000 bytes"),
        ({"root_keys": b""}, InvalidArgumentError, "something else"),
        ({"root_keys": b"-----BEGIN OPENSSH PRIVATE KEY-----\n"}, InvalidArgumentError, "else"),
        ({"root_keys": KEY + b"password"}, InvalidArgumentError, "something else"),
        ({"root_keys": KEY * (MAX_KEYS // len(KEY) + 1)}, InvalidArgumentError, "something else"),
        ({"hostname": ""}, InvalidArgumentError, "no host name"),
        ({"hostname": "a b"}, InvalidArgumentError, "no host name"),
        ({"hostname": "-a"}, InvalidArgumentError, "no host name"),
        ({"hostname": "a\n"}, InvalidArgumentError, "no host name"),
        ({"hostname": "a." * 32 + "b"}, InvalidArgumentError, "no host name"),
    ],
)
def test_settings_that_cannot(changes: dict[str, Any], error: type[BootdError], text: str) -> None:
    with pytest.raises(error, match=text):
        replace(GOOD, **changes).check()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((), ["root=UUID=1-2", "rootflags=subvol=/os", "rw"]),
        (("quiet",), ["root=UUID=1-2", "rootflags=subvol=/os", "rw", "quiet"]),
        (("ro",), ["root=UUID=1-2", "rootflags=subvol=/os", "ro"]),
        (("root=/dev/vda2", "b"), ["rw", "root=/dev/vda2", "b"]),
    ],
)
def test_the_root_is_named_unless_somebody_did(given: tuple[str, ...], found: list[str]) -> None:
    root = RootFileSystem("btrfs", "1-2", "/os")
    assert replace(GOOD, kernel_arguments=given).machine_arguments(root.arguments) == found


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("var/roothome", "var/roothome/.ssh/keys"),
        ("/var/roothome", "var/roothome/.ssh/keys"),
        ("./usr/../var//home/admin/", "var/home/admin/.ssh/keys"),
        ("../../var/roothome", "var/roothome/.ssh/keys"),
        ("home/admin", "var/home/admin/.ssh/keys"),
        ("usr/admin", "usr/admin/.ssh/keys"),
    ],
)
def test_links_are_followed_inside_the_tree(target: str, found: str) -> None:
    tree = folder(root=link(target), home=link("var/home"), usr=folder(), var=folder())
    assert b"/".join(resolve(tree, b"root/.ssh/keys")).decode() == found


def laid_out(tree: Directory) -> HostLayout:
    var = tree.entries.get(b"var", folder())
    assert isinstance(var, Directory)
    return HostLayout(Directory(tree.metadata, {**tree.entries, b"var": folder()}), var)


def test_the_tree_of_an_image_is_told_when_it_is_composed_and_only_then(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    publish(machine.image, "v1")
    told: list[HostLayout] = []
    stage(machine.host, Silent(), composed=told.append)
    [layout] = told
    assert lookup(layout.var, b"lib/seed") is not None
    assert lookup(layout.root, b"var/lib") is None
    stage(machine.host, Silent(), composed=told.append)
    assert told == [layout]


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (folder(root=link("root")), "circles"),
        (folder(root=file(b"")), "through a file"),
        (folder(root=folder()), "part of the image"),
        (folder(), "part of the image"),
        (folder(root=link("var/a"), var=folder(a=link("/etc"))), "part of the image"),
        (folder(root=link("var/a"), var=folder(a=folder(**{".ssh": file(b"")}))), "a file"),
        (folder(root=link("../..")), "part of the image"),
    ],
)
def test_keys_go_nowhere_else(tree: Directory, text: str) -> None:
    with pytest.raises(InvalidTreeError, match=text):
        add_root_keys(laid_out(tree), KEY, Inline(), 0)


def test_keys_are_added_to_those_the_image_has() -> None:
    home = folder()
    layout = laid_out(folder(root=link("var/roothome"), var=folder(roothome=home)))
    add_root_keys(layout, KEY, Inline(), 7)
    add_root_keys(layout, OTHER, Inline(), 8)
    ssh = home.entries[b".ssh"]
    keys = lookup(layout.var, b"roothome/.ssh/authorized_keys")
    var = layout.root.entries[b"var"]
    assert isinstance(var, Directory)
    assert var.entries == {}
    assert isinstance(keys, RegularFile)
    assert keys.content == KEY + OTHER + b"\n"
    assert keys.size == len(keys.content)
    assert (ssh.metadata.permissions, keys.metadata.permissions) == (0o700, 0o600)
    assert (ssh.metadata.mtime_seconds, keys.metadata.mtime_seconds) == (7, 8)


@pytest.mark.parametrize(
    "before", [None, "", "\n", " \n", "0123\n", "0" * 32 + "\n", "uninitialized", "uninitialized\n"]
)
@pytest.mark.parametrize("mode", [0o600, 0o444, 0o4755])
def test_the_first_start_of_a_machine_is_a_first_boot(
    tmp_path: Path, before: str | None, mode: int
) -> None:
    path = tmp_path / "machine-id"
    if before is not None:
        path.write_text(before)
        path.chmod(mode)
    write_identity(Disk(), tmp_path, None)
    assert path.read_text() == "uninitialized\n"
    assert path.stat().st_mode & 0o7777 == 0o444
    assert not (tmp_path / "hostname").exists()


def test_what_links_out_of_etc_is_replaced(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("not ours\n")
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "hostname").symlink_to(outside)
    (etc / "machine-id").symlink_to(outside)
    write_identity(Disk(), etc, "web1")
    assert (etc / "hostname").read_text() == "web1\n"
    assert (etc / "machine-id").read_text() == "uninitialized\n"
    assert outside.read_text() == "not ours\n"


def test_a_signed_loader_of_the_architecture_is_taken() -> None:
    names = {"systemd-bootx64.efi": b"x", "systemd-bootx64.efi.signed": b"s"}
    efi = folder(**{name: file(content) for name, content in names.items()})
    tree = efi
    for name in reversed(LOADER_FOLDER.strip("/").split("/")):
        tree = folder(**{name: tree})
    assert find_loader(tree, "x86_64").content == b"s"
    del efi.entries[b"systemd-bootx64.efi.signed"]
    assert find_loader(tree, "x86_64").content == b"x"
    with pytest.raises(NoBootLoaderError, match=r"systemd-bootaa64\.efi"):
        find_loader(tree, "aarch64")
    with pytest.raises(NoBootLoaderError, match="for s390x"):
        find_loader(tree, "s390x")


def test_the_table_has_an_esp_and_a_root_of_this_architecture() -> None:
    script = table_script("aarch64").decode()
    assert script.startswith("label: gpt\n")
    assert f"size=1024MiB, type={ESP_TYPE}" in script
    assert f'type={ROOT_TYPES["aarch64"]}, name="{UNFINISHED}"' in script


def _dump(*names: str, **more: object) -> bytes:
    partitions = [{"node": "x", "start": 8, "size": 16, "name": name} for name in names]
    return json.dumps({"partitiontable": {**more, "partitions": partitions}}).encode()


def test_partitions_are_read_in_bytes() -> None:
    assert partitions_in(_dump("a", sectorsize=4096)) == [Partition("a", 32_768, 65_536, 4096)]
    assert partitions_in(_dump("a")) == [Partition("a", 4_096, 8_192, 512)]
    assert partitions_in(b'{"partitiontable": {"label": "gpt"}}') == []


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("esp", UNFINISHED), True),
        (("esp", "bootd"), False),
        ((UNFINISHED,), False),
        (("esp", UNFINISHED, "data"), False),
        ((), False),
    ],
)
def test_only_an_unfinished_installation_is_one(names: tuple[str, ...], found: bool) -> None:
    assert is_unfinished(partitions_in(_dump(*names))) is found


def test_signatures_are_named_once() -> None:
    listing = b'{"signatures": [{"type": "gpt"}, {"type": "gpt"}, {"type": "PMBR"}]}'
    assert signatures_in(listing) == ["gpt", "PMBR"]
    assert signatures_in(b"") == []


def test_users_of_a_disk_are_named() -> None:
    disk = {
        "path": "/dev/vdb",
        "type": "disk",
        "mountpoints": [None],
        "children": [
            {"path": "/dev/vdb1", "type": "part", "mountpoints": ["/mnt", "/srv"]},
            {"path": "/dev/vdb2", "type": "part", "mountpoints": ["[SWAP]"]},
            {
                "path": "/dev/vdb3",
                "type": "part",
                "mountpoints": [None],
                "children": [{"path": "/dev/mapper/data", "type": "lvm", "mountpoints": ["/d"]}],
            },
        ],
    }
    assert users_in(json.dumps({"blockdevices": [disk]}).encode()) == [
        "/dev/vdb1 is mounted on /mnt",
        "/dev/vdb1 is mounted on /srv",
        "/dev/vdb2 is swap space",
        "/dev/mapper/data is mounted on /d",
        "/dev/vdb3 is used by /dev/mapper/data (lvm)",
    ]
    assert users_in(b'{"blockdevices": [{"path": "/dev/vdb", "type": "disk"}]}') == []


@pytest.mark.parametrize(
    ("words", "firmware"), [([], Firmware(Path("/sys/firmware/efi"))), (["--generic-image"], None)]
)
def test_the_command_line_is_about_this_machine_unless_told(
    words: list[str], firmware: Firmware | None
) -> None:
    given = []

    def operation(*arguments: object) -> InstallDocument:
        given.append(arguments[2])
        raise CancelledError("that is all the test wants to know")

    parser = ArgumentParser()
    add_settings(parser)
    arguments = parser.parse_args(["--image", "registry.example/os:stable", *words])
    with pytest.raises(CancelledError):
        run_installation(arguments, Output(sys.stdout, sys.stderr, quiet=True), operation)
    assert given == [firmware]


def test_a_small_disk_is_refused_with_the_numbers() -> None:
    check_size("/dev/vdb", ESP_BYTES + MINIMUM_ROOT + (2 << 20), 1_000)
    with pytest.raises(NoSpaceError, match="/dev/vdb has 2,000 MB; an installation may need 2,150"):
        check_size("/dev/vdb", 2_000_000_000, 1_000)
    with pytest.raises(NoSpaceError, match="/dev/vdb has 6,000 MB; an installation may need 6,076"):
        check_size("/dev/vdb", 6_000_000_000, 5_000_000_000)
