"""A number that an upgrade chose gives way to the image's; whoever was left out arrives later."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.images import build_oci_layout, entry, tar_layer
from support.machine import Machine, image_files

from bootd.model.etc.report import ConflictKind
from bootd.operations.etc import ids as etc_ids
from bootd.operations.etc.ids import read_chosen
from bootd.operations.etc_preview import preview
from bootd.operations.etc_reports import read_report
from bootd.operations.etc_views import conflicts
from bootd.operations.progress import Silent
from bootd.process import run
from bootd.store.erofs import ErofsImage

ROOT = "root:x:0:0:root:/root:/bin/bash\n"
LONG = b"a text that is longer than what an image keeps inside itself " * 3
USER, GROUP = "chrony:x:%d:%d::/:/bin/false\n", "chrony:x:%d:\n"


def release(
    machine: Machine, version: str, users: str = "", groups: str = "", gid: int = 0
) -> None:
    """Publish an image with some users, a set-group-ID program and a key of that group."""
    files = {
        **image_files(version),
        "etc/passwd": (ROOT + users).encode(),
        "etc/group": ("root:x:0:\n" + groups).encode(),
    }
    owned = [
        (entry("usr/bin/chronyc", mode=0o2755, gid=gid), LONG + version.encode()),
        (entry("etc/chrony.keys", mode=0o640, gid=gid), LONG + version.encode()),
    ]
    layers = [tar_layer(files)] + ([tar_layer(owned)] if gid else [])
    labels = {"org.opencontainers.image.version": version}
    build_oci_layout(machine.image, layers, labels=labels)


def with_chrony(machine: Machine, version: str, number: int) -> None:
    release(machine, version, USER % (number, number), GROUP % number, number)


def etc_of(machine: Machine) -> Path:
    booted = machine.sysroot.booted()
    assert booted is not None
    return machine.etc(booted)


def go(machine: Machine) -> Path:
    machine.upgrade()
    machine.reboot()
    return etc_of(machine)


def add(etc: Path, name: str, number: int) -> None:
    with (etc / "passwd").open("a") as stream:
        stream.write(f"{name}:x:{number}:{number}::/home/{name}:/bin/bash\n")
    with (etc / "group").open("a") as stream:
        stream.write(f"{name}:x:{number}:\n")


def ids(etc: Path, name: str = "chrony") -> tuple[int, int, int]:
    """The number of a user, of its primary group, and of the group of that name."""
    rows = {}
    for database in ("passwd", "group"):
        for line in (etc / database).read_text().splitlines():
            rows[database, line.partition(":")[0]] = line.split(":")
    user, group = rows["passwd", name], rows["group", name]
    return int(user[2]), int(user[3]), int(group[2])


def said(machine: Machine) -> str:
    booted = machine.sysroot.booted()
    assert booted is not None
    report = read_report(machine.sysroot, booted)
    assert report is not None
    return "\n".join([note.detail for note in report.notes] + [o.detail for o in report.conflicts])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine on which chrony has 999, because its 104 belongs to somebody here."""
    folder = tmp_path_factory.mktemp("chosen")
    machine = Machine(folder / "root", folder / "image")
    machine.folder.mkdir()
    release(machine, "v1")
    add(go(machine), "localapp", 104)
    with_chrony(machine, "v2", 104)
    assert ids(go(machine)) == (999, 999, 999)
    return machine


@pytest.fixture
def machine(original: Machine, tmp_path: Path) -> Machine:
    run(["cp", "--archive", original.folder, original.image, tmp_path])
    return Machine(tmp_path / "root", tmp_path / "image")


def test_the_image_s_number_is_taken_once_it_is_free(machine: Machine) -> None:
    with_chrony(machine, "v3", 110)
    staged = machine.upgrade()
    told = [note.detail for note in preview(machine.host, Silent()).notes]
    assert any("'chrony': has the image's id 110" in text for text in told)
    machine.reboot()
    etc = etc_of(machine)
    assert ids(etc) == (110, 110, 110)
    assert ids(etc, "localapp") == (104, 104, 104)
    assert (etc / "chrony.keys").stat().st_gid == 110
    with ErofsImage.open(machine.sysroot.deployment(staged) / "root.erofs") as image:
        program = image.lookup(b"usr/bin/chronyc")
    assert program is not None
    assert (program.metadata.gid, program.metadata.permissions) == (110, 0o2755)
    assert not any(read_chosen(machine.sysroot, staged).numbers.values())
    with_chrony(machine, "v4", 111)
    assert ids(go(machine)) == (110, 110, 110)
    assert "it keeps its id" in said(machine)


def test_users_of_its_group_follow(machine: Machine) -> None:
    etc = etc_of(machine)
    with (etc / "passwd").open("a") as stream:
        stream.write("helper:x:500:999::/:/bin/sh\n")
    with_chrony(machine, "v3", 110)
    assert "helper:x:500:110:" in (go(machine) / "passwd").read_text()


def acl(path: Path, tag: int, number: int) -> None:
    nobody = 0xFFFFFFFF
    entries = [(1, 6, nobody), (tag, 4, number), (4, 4, nobody), (16, 4, nobody), (32, 0, nobody)]
    entries.sort()
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)
    os.setxattr(path, "system.posix_acl_access", value)


def in_var(machine: Machine, name: str = "lib/chrony/drift") -> Path:
    path = machine.sysroot.store / "var" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("state\n")
    return path


def own(path: Path, uid: int = 0, gid: int = 0) -> None:
    path.touch()
    os.chown(path, uid, gid)


FILES: dict[str, tuple[Callable[[Machine], object], tuple[int, int, int]]] = {
    "user": (lambda machine: own(in_var(machine), uid=999), (999, 110, 110)),
    "group": (lambda machine: own(in_var(machine), gid=999), (110, 999, 999)),
    "both": (lambda machine: own(in_var(machine), 999, 999), (999, 999, 999)),
    "folder": (lambda machine: own(in_var(machine).parent, 999, 999), (999, 999, 999)),
    "link": (
        lambda machine: os.lchown(
            (in_var(machine).parent / "l", (in_var(machine).parent / "l").symlink_to("x"))[0],
            999,
            999,
        ),
        (999, 999, 999),
    ),
    "access list": (lambda machine: acl(in_var(machine), 2, 999), (999, 110, 110)),
    "group's access list": (lambda machine: acl(in_var(machine), 8, 999), (110, 999, 999)),
    "of the new number": (lambda machine: own(in_var(machine), 110, 110), (999, 999, 999)),
    "in /etc": (lambda machine: own(etc_of(machine) / "mine", 999, 999), (999, 999, 999)),
    "a key with another mode": (
        lambda machine: (etc_of(machine) / "chrony.keys").chmod(0o600),
        (110, 999, 999),
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_number_that_files_have_stays(machine: Machine, kind: str) -> None:
    make, after = FILES[kind]
    make(machine)
    with_chrony(machine, "v3", 110)
    assert ids(go(machine)) == after
    assert "it keeps its id" in said(machine)
    assert read_chosen(machine.sysroot, machine.sysroot.booted()).numbers != {}


def test_a_key_that_the_image_drops_and_that_is_mine_keeps_its_group(machine: Machine) -> None:
    (etc_of(machine) / "chrony.keys").write_text("changed here\n")
    release(machine, "v3", USER % (110, 110), GROUP % 110)
    etc = go(machine)
    assert ids(etc) == (110, 999, 999)
    assert (etc / "chrony.keys").stat().st_gid == 999


def test_with_more_files_than_are_looked_at_the_number_stays(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        in_var(machine, str(number))
    monkeypatch.setattr(etc_ids, "MAX_LOOKED_AT", 4)
    with_chrony(machine, "v3", 110)
    assert ids(go(machine)) == (999, 999, 999)
    assert "it keeps its id" in said(machine)
    monkeypatch.undo()
    with_chrony(machine, "v4", 111)
    assert ids(go(machine)) == (111, 111, 111)


@pytest.fixture
def disk(machine: Machine) -> Iterator[Path]:
    folder = machine.sysroot.store / "var/lib/data"
    folder.mkdir(parents=True)
    run(["mount", "-t", "tmpfs", "none", folder])
    yield folder
    run(["umount", folder])


@pytest.mark.usefixtures("disk")
def test_what_is_on_another_disk_is_not_known(machine: Machine) -> None:
    with_chrony(machine, "v3", 110)
    assert ids(go(machine)) == (999, 999, 999)


def test_what_an_administrator_chose_stays(machine: Machine) -> None:
    etc = etc_of(machine)
    for name in ("passwd", "group"):
        text = (etc / name).read_text().replace("chrony:x:999", "chrony:x:998")
        (etc / name).write_text(text)
    with_chrony(machine, "v3", 110)
    assert ids(go(machine)) == (998, 999, 998)


def test_a_number_that_is_taken_here_is_not_free(machine: Machine) -> None:
    add(etc_of(machine), "other", 110)
    with_chrony(machine, "v3", 110)
    assert ids(go(machine)) == (999, 999, 999)
    with_chrony(machine, "v4", 111)
    assert ids(go(machine)) == (111, 111, 111)


def test_a_number_of_one_who_goes_is_not_free_yet(machine: Machine) -> None:
    more = "old:x:110:110::/:/bin/sh\n"
    release(machine, "v3", USER % (104, 104) + more, GROUP % 104 + "old:x:110:\n", 104)
    go(machine)
    with_chrony(machine, "v4", 110)
    assert ids(go(machine)) == (999, 999, 999)


def test_what_was_chosen_is_known_after_more_upgrades(machine: Machine) -> None:
    for version in ("v3", "v4"):
        with_chrony(machine, version, 104)
        assert ids(go(machine)) == (999, 999, 999)
    with_chrony(machine, "v5", 110)
    assert ids(go(machine)) == (110, 110, 110)


def test_whoever_was_left_out_arrives_when_the_image_makes_it_possible(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    release(machine, "v1", "", "net:x:50:\naudio:x:29:\n")
    etc = go(machine)
    (etc / "group").write_text("root:x:0:\naudio:x:29:\n")
    add(etc, "mine", 50)
    kea = "kea:x:120:50::/:/bin/false\n"
    release(machine, "v2", kea, "net:x:50:\naudio:x:29:kea\n")
    etc = go(machine)
    assert "kea" not in (etc / "passwd").read_text()
    assert "left out" in said(machine)
    release(machine, "v2b", kea, "net:x:50:\naudio:x:29:kea\n")
    go(machine)
    assert "kea': deleted here" not in said(machine)
    release(
        machine, "v3", "kea:x:120:120::/:/bin/false\n", "net:x:50:\naudio:x:29:kea\nkea:x:120:\n"
    )
    etc = go(machine)
    assert ids(etc, "kea") == (120, 120, 120)
    assert "audio:x:29:kea" in (etc / "group").read_text()
    assert "deleted here" not in said(machine).replace("'net': deleted here", "")
    assert [one for one in conflicts(machine.host).open if "left out" in one.conflict.detail] == []
    assert all(one.conflict.kind is ConflictKind.ACCOUNT for one in conflicts(machine.host).open)


def test_whom_an_administrator_deletes_stays_deleted(machine: Machine) -> None:
    etc = etc_of(machine)
    for name in ("passwd", "group"):
        lines = (etc / name).read_text().splitlines(keepends=True)
        (etc / name).write_text("".join(one for one in lines if "chrony" not in one))
    with_chrony(machine, "v3", 110)
    assert "chrony" not in (go(machine) / "passwd").read_text()
    assert "deleted here" in said(machine)
