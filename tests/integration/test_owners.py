"""Files of an image belong to whom it names, whatever number that one has on the machine."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.images import build_oci_layout, entry, tar_layer
from support.machine import Machine, image_files

from bootd.model.deployment import DeploymentId, DeploymentRecord
from bootd.model.tree import Node
from bootd.operations.etc_change import reset
from bootd.operations.etc_preview import preview
from bootd.operations.finalize import finalize
from bootd.operations.fsck import fsck
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.store.erofs import ErofsImage

ROOT = "root:x:0:0:root:/root:/bin/bash\n"
LONG = b"a text that is longer than what an image keeps inside itself " * 3


@dataclass
class Ids:
    """What an image calls its users and groups, and the numbers it gives them."""

    users: dict[str, int]
    groups: dict[str, int]

    def files(self) -> dict[str, bytes]:
        users = "".join(f"{name}:x:{n}:{n}::/:/bin/false\n" for name, n in self.users.items())
        groups = "".join(f"{name}:x:{n}:\n" for name, n in self.groups.items())
        return {
            "etc/passwd": (ROOT + users).encode(),
            "etc/group": b"root:x:0:\n" + groups.encode(),
        }


def publish(machine: Machine, version: str, ids: Ids, **more: tuple[int, int, int]) -> None:
    """An image whose `more` files have a mode, an owner and a group, by path with ``__`` for /."""
    files = {**image_files(version), **ids.files()}
    owned = []
    for name, (mode, uid, gid) in more.items():
        path = name.replace("__", "/")
        owned.append((entry(path, mode=mode, uid=uid, gid=gid), LONG + version.encode()))
    build_oci_layout(
        machine.image,
        [tar_layer(files), tar_layer(owned)],
        labels={"org.opencontainers.image.version": version},
    )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "root", tmp_path / "image")
    made.folder.mkdir()
    return made


OLD = Ids({"chrony": 101}, {"chrony": 101, "crontab": 102})
NEW = Ids({"chrony": 104}, {"chrony": 104, "crontab": 997})


def start(machine: Machine) -> DeploymentId:
    publish(machine, "v1", OLD, usr__bin__crontab=(0o2755, 0, 102), etc__keys=(0o640, 0, 101))
    machine.upgrade()
    return machine.reboot()


def follow(machine: Machine) -> DeploymentId:
    publish(machine, "v2", NEW, usr__bin__crontab=(0o2755, 0, 997), etc__keys=(0o640, 104, 104))
    return machine.upgrade()


def add_user(machine: Machine, name: str, number: int) -> None:
    etc = machine.etc(machine.sysroot.booted())
    for database, row in (
        ("passwd", f"{name}:x:{number}:{number}::/home:/bin/sh\n"),
        ("group", f"{name}:x:{number}:\n"),
    ):
        with (etc / database).open("a") as stream:
            stream.write(row)


def in_image(machine: Machine, deployment: DeploymentId, path: str) -> Node:
    with ErofsImage.open(machine.sysroot.deployment(deployment) / "root.erofs") as image:
        node = image.lookup(path.encode())
    assert node is not None
    return node


def owner(machine: Machine, deployment: DeploymentId, path: str) -> tuple[int, int, str]:
    found = in_image(machine, deployment, path).metadata
    return found.uid, found.gid, oct(found.permissions)


def record(machine: Machine, deployment: DeploymentId) -> DeploymentRecord:
    return machine.sysroot.read_deployment(deployment)


def test_programs_and_files_keep_the_owner_that_the_image_names(machine: Machine) -> None:
    start(machine)
    new = follow(machine)
    assert owner(machine, new, "usr/bin/crontab") == (0, 102, "0o2755")
    assert owner(machine, new, "usr/etc/keys") == (101, 101, "0o640")
    assert record(machine, new).mapped_files == 2
    said = preview(machine.host, Silent()).notes
    assert any(note.kind == "owners" and "2 files" in note.detail for note in said)
    machine.reboot()
    status = (machine.etc(new) / "keys").stat()
    assert (status.st_uid, status.st_gid) == (101, 101)
    assert fsck(machine.host, Silent()).damages == []


def test_with_the_same_numbers_the_images_own_file_is_used(machine: Machine) -> None:
    start(machine)
    publish(machine, "v2", OLD, usr__bin__crontab=(0o2755, 0, 102))
    new = machine.upgrade()
    erofs = machine.sysroot.deployment(new) / "root.erofs"
    assert erofs.samefile(machine.sysroot.images / record(machine, new).digest / "root.erofs")
    assert record(machine, new).mapped_files == 0


def test_a_number_that_somebody_took_after_staging_is_followed(machine: Machine) -> None:
    publish(machine, "v1", Ids({}, {}))
    machine.upgrade()
    machine.reboot()
    new = follow(machine)
    assert owner(machine, new, "usr/etc/keys") == (104, 104, "0o640")
    add_user(machine, "localapp", 104)
    machine.reboot()
    uid, gid, _ = owner(machine, new, "usr/etc/keys")
    rows = (machine.etc(new) / "passwd").read_text().splitlines()
    numbers = {row.split(":")[0]: int(row.split(":")[2]) for row in rows}
    assert numbers["localapp"] == 104
    assert numbers["chrony"] == uid != 104
    status = (machine.etc(new) / "keys").stat()
    assert (status.st_uid, status.st_gid) == (uid, gid)
    assert fsck(machine.host, Silent()).damages == []


def test_a_user_that_was_deleted_here_gives_nothing_to_anybody(machine: Machine) -> None:
    start(machine)
    etc = machine.etc(machine.sysroot.booted())
    for name in ("passwd", "group"):
        lines = (etc / name).read_text().splitlines(keepends=True)
        (etc / name).write_text("".join(line for line in lines if not line.startswith("chrony:")))
    new = follow(machine)
    assert owner(machine, new, "usr/etc/keys") == (0, 0, "0o600")
    assert record(machine, new).ownerless_files == 1


def test_edits_of_mine_and_of_modes_are_merged_as_before(machine: Machine) -> None:
    start(machine)
    keys = machine.etc(machine.sysroot.booted()) / "keys"
    keys.chmod(0o600)
    (machine.etc(machine.sysroot.booted()) / "mine").write_text("mine\n")
    new = follow(machine)
    machine.reboot()
    status = (machine.etc(new) / "keys").stat()
    assert oct(status.st_mode & 0o7777) == "0o600"
    assert (machine.etc(new) / "keys").read_bytes() == LONG + b"v2"
    assert (machine.etc(new) / "mine").read_text() == "mine\n"


def test_a_reset_gives_the_number_of_here(machine: Machine) -> None:
    start(machine)
    new = follow(machine)
    machine.reboot()
    keys = machine.etc(new) / "keys"
    keys.write_bytes(b"edited\n")
    reset(machine.host, Silent(), paths=["/etc/keys"])
    assert (keys.stat().st_uid, keys.stat().st_gid) == (101, 101)
    assert keys.read_bytes() == LONG + b"v2"


def test_a_rollback_and_the_way_forward(machine: Machine) -> None:
    old = start(machine)
    follow(machine)
    machine.reboot()
    rollback(machine.host, Silent())
    assert machine.power_on() == old
    assert owner(machine, old, "usr/bin/crontab") == (0, 102, "0o2755")
    publish(machine, "v3", NEW, usr__bin__crontab=(0o2755, 0, 997))
    assert owner(machine, machine.upgrade(), "usr/bin/crontab") == (0, 102, "0o2755")


def test_accounts_below_usr_keep_their_numbers(machine: Machine) -> None:
    start(machine)
    elsewhere = {"usr__lib__passwd": b"qemu:x:104:104::/:/bin/false\n"}
    publish(machine, "v2", OLD, usr__bin__crontab=(0o2755, 0, 102), usr__bin__qemu=(0o755, 104, 0))
    files = {name.replace("__", "/"): data for name, data in elsewhere.items()}
    tree = {**image_files("v2"), **OLD.files(), **files}
    owned = [(entry("usr/bin/qemu", mode=0o755, uid=104), LONG)]
    build_oci_layout(machine.image, [tar_layer(tree), tar_layer(owned)])
    assert owner(machine, machine.upgrade(), "usr/bin/qemu") == (104, 0, "0o755")


def test_a_number_that_an_administrator_changes_after_staging_is_followed(machine: Machine) -> None:
    start(machine)
    new = follow(machine)
    before = record(machine, new)
    group = machine.etc(machine.sysroot.booted()) / "group"
    group.write_text(group.read_text().replace("crontab:x:102:", "crontab:x:150:"))
    finalize(machine.host, Silent())
    after = record(machine, new)
    assert after.erofs != before.erofs
    assert owner(machine, new, "usr/bin/crontab") == (0, 150, "0o2755")


def test_a_list_of_who_may_has_the_numbers_of_here(machine: Machine) -> None:
    start(machine)
    rows = (
        (1, 6, 2**32 - 1),
        (2, 4, 104),
        (4, 4, 2**32 - 1),
        (16, 4, 2**32 - 1),
        (32, 0, 2**32 - 1),
    )
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)
    tree = {**image_files("v2"), **NEW.files()}
    listed = entry("usr/bin/listed", mode=0o640)
    listed.pax_headers = {
        "SCHILY.xattr.system.posix_acl_access": acl.decode("utf-8", "surrogateescape")
    }
    build_oci_layout(machine.image, [tar_layer(tree), tar_layer([(listed, LONG)])])
    new = machine.upgrade()
    value = in_image(machine, new, "usr/bin/listed").metadata.xattrs[b"system.posix_acl_access"]
    assert struct.unpack("<HHI", value[12:20]) == (2, 4, 101)


def test_a_cut_between_file_and_record_is_mended_though_the_accounts_are_as_before(
    machine: Machine,
) -> None:
    start(machine)
    new = follow(machine)
    before = record(machine, new)
    erofs = machine.sysroot.deployment(new) / "root.erofs"
    # As after a cut: the file follows other accounts than the record says, and these are gone.
    other = erofs.with_name("other")
    other.write_bytes((machine.sysroot.images / before.digest / "root.erofs").read_bytes())
    other.rename(erofs)
    finalize(machine.host, Silent())
    assert record(machine, new) == before
    assert owner(machine, new, "usr/bin/crontab") == (0, 102, "0o2755")
    assert fsck(machine.host, Silent()).damages == []
