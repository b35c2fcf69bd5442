"""What of an /etc only root can make: owners, devices, capabilities, ACLs, a full disk."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.etc_merge import merge
from support.etc_trees import MemoryContents, flatten, folder, lay_out, link, metadata, read_back

from bootd.durable import Disk
from bootd.etc.merge import first_etc
from bootd.model.errors import NoSpaceError
from bootd.model.etc.report import NoteKind
from bootd.model.tree import Directory, SpecialFile
from bootd.process import run

CONTENTS = MemoryContents()
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
"""``cap_net_raw+ep`` as linux/capability.h lays out version 2."""


def acl(mask: int) -> bytes:
    """Return user rw, group r, user 1000 rw, others nothing, as linux/posix_acl_xattr.h has it."""
    undefined = 0xFFFFFFFF
    entries = [(1, 6, undefined), (2, 6, 1000), (4, 4, undefined), (16, mask, undefined)]
    entries.append((32, 0, undefined))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def null(mode: int = 0o666, minor: int = 3) -> SpecialFile:
    return SpecialFile(metadata(mode), stat.S_IFCHR, os.makedev(1, minor))


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.fail("these tests need root: run them with sudo or in a container as root")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "tiny"
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "tmpfs", str(place)])
    yield place
    run(["umount", str(place)])


def merged(tmp_path: Path, base: Directory, mine: Directory, theirs: Directory) -> Directory:
    local = lay_out(mine, tmp_path / "mine", CONTENTS)
    report = merge(base, local, theirs, CONTENTS, tmp_path / "target")
    assert report.conflicts == report.notes == []
    return mine


def test_owners_set_id_bits_and_capabilities_survive_the_chown(tmp_path: Path) -> None:
    text = CONTENTS.file
    mine = folder(
        {
            "setuid": text("a", 0o6755, uid=1001, gid=1002),
            "capable": text("b", 0o755, uid=1001, xattrs={b"security.capability": CAPABILITY}),
            "link": link("x", uid=1003, gid=1004, xattrs={b"trusted.note": b"on a link"}),
            "folder": folder({}, 0o2750, uid=1005, gid=1006),
        },
        uid=1007,
    )

    merged(tmp_path, folder(), mine, folder())

    assert read_back(tmp_path / "target") == flatten(mine, CONTENTS)


def test_a_local_owner_and_new_content_both_stand(tmp_path: Path) -> None:
    text = CONTENTS.file
    merged(
        tmp_path,
        folder({"f": text("a")}),
        folder({"f": text("a", 0o4750, uid=1001)}),
        folder({"f": text("b")}),
    )

    status = (tmp_path / "target/f").stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (1001, 0o4750)
    assert (tmp_path / "target/f").read_text() == "b"


def test_acls_survive(tmp_path: Path) -> None:
    text = CONTENTS.file
    xattrs = {b"system.posix_acl_access": acl(6)}
    default = {b"system.posix_acl_default": acl(6)}
    mine = folder(
        {"f": text("a", 0o660, xattrs=xattrs), "d": folder({"x": text("x")}, xattrs=default)}
    )
    # Laid out by hand: what is made below a folder with a default ACL inherits it.
    local = lay_out(
        folder({"f": text("a"), "d": folder({"x": text("x")})}), tmp_path / "mine", CONTENTS
    )
    os.setxattr(local / "f", b"system.posix_acl_access", acl(6))
    os.setxattr(local / "d", b"system.posix_acl_default", acl(6))
    before = read_back(local)
    assert before[b"f"][2:6] == flatten(mine, CONTENTS)[b"f"][2:6]

    merge(folder(), local, folder(), CONTENTS, tmp_path / "target")

    assert read_back(tmp_path / "target") == before


def test_attributes_only_root_sees_are_merged(tmp_path: Path) -> None:
    text = CONTENTS.file
    mine = folder({"f": text("a", xattrs={b"trusted.large": b"v" * 3000})})

    merged(tmp_path, folder({"f": text("a")}), mine, folder({"f": text("b")}))

    assert os.getxattr(tmp_path / "target/f", "trusted.large") == b"v" * 3000
    assert (tmp_path / "target/f").read_text() == "b"


def test_devices_of_the_image_are_made_and_those_of_the_machine_left(tmp_path: Path) -> None:
    local = lay_out(
        folder({"same": null(), "changed": null(), "mine": null()}), tmp_path / "mine", CONTENTS
    )
    base = folder({"same": null(), "changed": null(minor=5)})
    theirs = folder({"same": null(0o600), "changed": null(minor=5), "new": null(minor=7)})

    report = merge(base, local, theirs, CONTENTS, tmp_path / "target")

    expected = folder({"same": null(0o600), "new": null(minor=7)})
    assert read_back(tmp_path / "target", times=False) == flatten(expected, CONTENTS, times=False)
    assert [(note.path, note.kind) for note in report.notes] == [
        ("/etc/changed", NoteKind.SPECIAL_SKIPPED),
        ("/etc/mine", NoteKind.SPECIAL_SKIPPED),
    ]


def test_an_attribute_too_large_for_the_file_system_is_dropped_and_noted(tmp_path: Path) -> None:
    """ext4 answers ENOSPC for an attribute that does not fit a block; others may take it."""
    large = {b"user.large": b"v" * 60_000}
    theirs = folder({"f": CONTENTS.file("a", xattrs=large)})

    report = first_etc(theirs, CONTENTS, tmp_path / "target")

    kept = read_back(tmp_path / "target")[b"f"][5]
    assert (kept, [note.kind for note in report.notes]) in (
        (large, []),
        ({}, [NoteKind.XATTR_DROPPED]),
    )


def test_a_full_disk_aborts(tmp_path: Path, tiny_disk: Path) -> None:
    mine = folder({"large": CONTENTS.file(b"x" * 400_000)})
    local = lay_out(mine, tmp_path / "mine", CONTENTS)

    with pytest.raises(NoSpaceError, match=r"cannot write .*/large: No space left on device"):
        merge(folder(), local, folder(), CONTENTS, tiny_disk / "target")


def test_a_disk_full_with_image_content_aborts(tiny_disk: Path) -> None:
    theirs = folder({str(number): CONTENTS.file(bytes(100_000)) for number in range(4)})

    with pytest.raises(NoSpaceError):
        first_etc(theirs, CONTENTS, tiny_disk / "target")


@pytest.fixture
def fixed(tmp_path: Path) -> Iterator[Path]:
    """A file that chattr made immutable, beside another one."""
    tree = folder({"d": folder({"fixed": CONTENTS.file("fixed")}), "a": CONTENTS.file("a")})
    place = lay_out(tree, tmp_path / "mine", CONTENTS)
    run(["chattr", "+i", place / "d/fixed"])
    yield place
    if place.exists():
        run(["chattr", "-R", "-i", place])


def test_what_is_immutable_is_carried_and_noted(fixed: Path, tmp_path: Path) -> None:
    report = merge(folder(), fixed, folder(), CONTENTS, tmp_path / "target")
    assert [(note.path, note.kind) for note in report.notes] == [
        ("/etc/d/fixed", NoteKind.IMMUTABLE)
    ]
    assert (tmp_path / "target/d/fixed").read_text() == "fixed"


def test_what_is_immutable_does_not_keep_a_tree_from_going(fixed: Path) -> None:
    run(["chattr", "+a", fixed / "d"])
    Disk().remove_tree(fixed)
    assert not fixed.exists()


def test_labels_of_the_machine_stay(tmp_path: Path) -> None:
    label = {b"security.selinux": b"system_u:object_r:etc_t:s0\0"}
    mine = folder({"f": CONTENTS.file("a", xattrs=label)})
    local = lay_out(mine, tmp_path / "mine", CONTENTS)
    base = folder({"f": CONTENTS.file("a")})
    report = merge(base, local, folder({"f": CONTENTS.file("new")}), CONTENTS, tmp_path / "target")
    assert (report.conflicts, report.counts.taken) == ([], 1)
    assert (tmp_path / "target/f").read_text() == "new"
    assert os.getxattr(tmp_path / "target/f", "security.selinux") == label[b"security.selinux"]
