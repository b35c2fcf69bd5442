"""No file of an image ends up owned by another name than the image gave it, whatever the accounts.

The judge reads passwd and group as text and asks the kernel who owns what; it has nothing of the
code that decides.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.account_worlds import Ids, Image, World, world
from support.effort import examples

from bootd.model.tree import Metadata, walk
from bootd.store.erofs import ErofsImage

Held = dict[str, tuple[int, int, int, set[int]]]


def names_of(ids: Ids) -> dict[int, set[str]]:
    found = defaultdict(set)
    for name, number in ids.items():
        found[number].add(name)
    return found


def numbers(machine: World, database: str) -> Ids:
    """Numbers by name, as getpwnam(3) would answer."""
    found: Ids = {}
    for row in machine.rows(database):
        found.setdefault(row[0], int(row[2]))
    return found


def listed(acl: bytes) -> set[int]:
    """Users that an access control list gives something."""
    entries = struct.iter_unpack("<HHI", acl[4:]) if acl else ()
    return {number for tag, rights, number in entries if tag == 2 and rights}


def in_usr(machine: World) -> Held:
    with ErofsImage.open(machine.erofs) as image:
        usr = image.lookup(b"usr")
        nodes: dict[str, Metadata] = {
            f"usr/{path.decode()}": node.metadata for path, node in walk(usr) if b"/" not in path
        }
    return {
        path: (
            one.permissions,
            one.uid,
            one.gid,
            listed(one.xattrs.get(b"system.posix_acl_access", b"")),
        )
        for path, one in nodes.items()
    }


def in_etc(machine: World) -> Held:
    found: Held = {}
    for path in machine.etc.iterdir():
        status = path.lstat()
        acl = b""
        if "system.posix_acl_access" in os.listxattr(path):
            acl = os.getxattr(path, "system.posix_acl_access")
        mode = stat.S_IMODE(status.st_mode)
        found[f"etc/{path.name}"] = mode, status.st_uid, status.st_gid, listed(acl)
    return found


def judge(machine: World, image: Image) -> None:
    """Compare who owns a file here with whom the image names, by name."""
    asked = {one.path for one in machine.reports[-1].conflicts if one.kind == "metadata"}
    assert {path.removeprefix("/etc/") for path in asked} <= machine.touched, asked
    held = in_usr(machine) | in_etc(machine)
    users, groups = numbers(machine, "passwd"), numbers(machine, "group")
    for path, (mode, uid, gid, user) in image.files.items():
        if path not in held or path.removeprefix("etc/") in machine.touched:
            continue
        found_mode, found_uid, found_gid, found_users = held[path]
        pairs = (
            (names_of(image.users)[uid], names_of(users)[found_uid], found_uid, uid),
            (names_of(image.groups)[gid], names_of(groups)[found_gid], found_gid, gid),
        )
        for wanted, here, number, before in pairs:
            given_up = number == 0 and not found_mode & 0o6077
            if wanted:
                assert wanted & here or given_up, (path, wanted, here, number)
            else:
                # Nobody in the image: nobody here, either.
                assert (number == before and not here) or given_up, (path, here, number)
        assert found_mode in (mode, mode & 0o1700), path
        for number in found_users:
            assert user is not None, path
            wanted = names_of(image.users)[user]
            assert wanted & names_of(users)[number] or (not wanted and number == user), path


def files_here(machine: World) -> dict[Path, tuple[int, int]]:
    """Who owns what no image has anything to do with."""
    own = [path for path in machine.etc.iterdir() if path.name.startswith("own")]
    places = {path: path for path in machine.var.iterdir()}
    places |= {Path("etc", path.name): path for path in own}
    return {name: (path.stat().st_uid, path.stat().st_gid) for name, path in places.items()}


def judge_own(before: dict[Path, tuple[int, int]], ids: tuple[Ids, Ids], machine: World) -> None:
    """Nobody's number changes under a file, and no other name gets one unsaid."""
    report, image = machine.reports[-1], machine.images[-1]
    told = "\n".join(one.detail for one in [*report.notes, *report.conflicts])
    assert files_here(machine) == before
    for index, there in enumerate((image.users, image.groups)):
        old, new = ids[index], numbers(machine, ("passwd", "group")[index])
        for number in {owners[index] for owners in before.values()}:
            had = names_of(old)[number]
            assert all(new.get(name, number) == number for name in had), (had, number)
            for name in names_of(new)[number] - had:
                # That two names have one number is what some images want.
                is_alias = bool(had & names_of(there)[number]) and there.get(name) == number
                assert not had or is_alias or f"'{name}'" in told, (name, number)


@examples(250)
@given(st.integers(0, 2**64))
def test_what_the_image_gives_a_name_that_name_has(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("world")
    before: tuple[dict[Path, tuple[int, int]], tuple[Ids, Ids]] | None = None
    try:
        for machine in world(folder, seed):
            if before is None:
                before = (
                    files_here(machine),
                    (numbers(machine, "passwd"), numbers(machine, "group")),
                )
                continue
            judge(machine, machine.images[-1])
            judge_own(*before, machine)
            before = None
    finally:
        shutil.rmtree(folder)
