"""Other owners for the inodes of an image, against a mapping of the tree that it was made from."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.effort import heavy
from support.trees import (
    crowded_tree,
    dump_of,
    image_of,
    labelled_tree,
    sample_tree,
    sharing_tree,
    trees,
)

from bootd.model.errors import DamagedImageError
from bootd.model.tree import Directory, Metadata, Node, RegularFile, walk
from bootd.store.erofs import ErofsImage
from bootd.store.erofs.owners import MappedOwners, map_owners

MANY = heavy(10, full=5_000)
USER, GROUP, MASK = 0x02, 0x08, 0x10
NUMBERS = (1000, 65_535, 65_536, (1 << 32) - 1)


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def lists(number: int) -> dict[bytes, bytes]:
    """Lists that name a user and a group, and one that names nobody."""
    plain = (0x01, 7, 0xFFFF_FFFF), (0x04, 5, 0xFFFF_FFFF), (0x20, 0, 0xFFFF_FFFF)
    named = acl(plain[0], (USER, 6, number), plain[1], (GROUP, 4, number), (MASK, 7, 0), plain[2])
    return {b"system.posix_acl_access": named, b"system.posix_acl_default": acl(*plain)}


def mapped(image: bytes, users: dict[int, int | None], groups: dict[int, int | None]):
    return map_owners(image, lambda n: users.get(n, n), lambda n: groups.get(n, n))


def read(image: bytes) -> Directory:
    return ErofsImage.from_bytes(image).root()


def expected(tree: Directory, users: dict[int, int | None], groups: dict[int, int | None]) -> None:
    """Give the nodes of a tree other owners."""
    seen = set()
    for node in [tree, *(node for _, node in walk(tree))]:
        if id(node) not in seen:
            seen.add(id(node))
            node.metadata = _other(node.metadata, users, groups)


def _other(
    before: Metadata, users: dict[int, int | None], groups: dict[int, int | None]
) -> Metadata:
    uid, gid = users.get(before.uid, before.uid), groups.get(before.gid, before.gid)
    nobody = uid is None or gid is None
    xattrs = {
        name: _other_list(value, users, groups, nobody=nobody)
        if name in (b"system.posix_acl_access", b"system.posix_acl_default")
        else value
        for name, value in before.xattrs.items()
    }
    permissions = before.permissions & 0o1700 if nobody else before.permissions
    return replace(before, permissions=permissions, uid=uid or 0, gid=gid or 0, xattrs=xattrs)


def _other_list(
    value: bytes, users: dict[int, int | None], groups: dict[int, int | None], *, nobody: bool
) -> bytes:
    result, rest = value[:4], value[4:]
    while len(rest) >= 8:
        tag, permissions, number = struct.unpack("<HHI", rest[:8])
        if nobody and tag != 0x01:
            permissions = 0
        known = {USER: users, GROUP: groups}.get(tag, {})
        target = known.get(number, number)
        result += struct.pack("<HHI", tag, permissions if target is not None else 0, target or 0)
        rest = rest[8:]
    return result + rest


def both(
    tree: Directory, users: dict[int, int | None], groups: dict[int, int | None]
) -> MappedOwners:
    done = mapped(image_of(tree), users, groups)
    result = read(done.content)
    expected(tree, users, groups)
    assert dump_of(result) == dump_of(tree)
    return done


TARGETS = st.dictionaries(
    st.sampled_from(NUMBERS), st.sampled_from([None, 0, 7, 1000, 65_535, 65_536]), max_size=4
)


@MANY
@given(trees(), TARGETS, TARGETS)
def test_the_tree_has_other_owners_and_is_the_same_otherwise(tree, users, groups) -> None:
    both(tree, users, groups)


@pytest.mark.parametrize(
    "make", [sample_tree, sharing_tree, labelled_tree, lambda: crowded_tree(3_000)]
)
def test_trees_of_all_shapes(make) -> None:
    tree = make()
    for number, (_, node) in enumerate(walk(tree)):
        if number % 3 == 0:
            node.metadata = replace(node.metadata, uid=104, gid=number % 5 + 100)
            if number % 2:
                node.metadata.xattrs |= lists(104)
    both(tree, {104: 101}, {100: 200, 103: 201, 104: None})


@pytest.mark.parametrize("version", [0, 1])
def test_the_version_of_the_image_stays(version: int) -> None:
    tree = Directory(Metadata(), {b"mine": _file(0o644, 1000, 0)})
    for target in (1001, 70_000):
        done = map_owners(image_of(tree, version), lambda n, to=target: to if n else 0, int)
        expected = Directory(Metadata(), {b"mine": _file(0o644, target, 0)})
        assert done.content == image_of(expected, version)


def test_without_another_number_nothing_changes() -> None:
    tree = sample_tree()
    image = image_of(tree)
    done = mapped(image, {}, {})
    assert (done.content, done.mapped, done.unknown) == (image, 0, 0)


def _file(mode: int, uid: int, gid: int) -> RegularFile:
    return RegularFile(Metadata(mode, uid, gid), 2, b"x\n")


def test_what_nobody_here_owns_is_roots_alone() -> None:
    entries: dict[bytes, Node] = {
        b"setgid": _file(0o2755, 0, 997),
        b"setuid": _file(0o4755, 998, 0),
        b"key": _file(0o640, 0, 997),
        b"plain": _file(0o644, 0, 0),
    }
    done = mapped(image_of(Directory(Metadata(), entries)), {998: None}, {997: None})
    found = read(done.content).entries
    assert {name: oct(node.metadata.permissions) for name, node in found.items()} == {
        b"setgid": "0o700", b"setuid": "0o700", b"key": "0o600", b"plain": "0o644",
    }  # fmt: skip
    assert all((node.metadata.uid, node.metadata.gid) == (0, 0) for node in found.values())
    assert (done.mapped, done.unknown) == (3, 3)


@pytest.mark.parametrize("shared", [False, True])
def test_a_list_gives_nobody_s_file_to_no_one(*, shared: bool) -> None:
    """A list that names others is not left on what was meant for somebody who is nobody here."""
    entries = {b"nobody's": _file(0o644, 104, 0)}
    if shared:
        entries[b"somebody's"] = _file(0o644, 105, 0)
    for node in entries.values():
        node.metadata.xattrs |= lists(105)
    done = both(Directory(Metadata(), entries), {104: None}, {})
    found = read(done.content).entries[b"nobody's"].metadata
    for value in found.xattrs.values():
        rights = {tag: given for tag, given, _ in struct.iter_unpack("<HHI", value[4:])}
        assert rights.pop(0x01) == 7
        assert set(rights.values()) == {0}


def test_a_number_that_does_not_fit_where_it_stands() -> None:
    tree = sample_tree()
    tree.entries[b"x"] = _file(0o2640, 104, 105)
    tree.entries[b"y"] = _file(0o644, 104, 106)
    done = both(tree, {104: 70_000, 106: None}, {105: 70_001, 106: None})
    assert (done.mapped, done.unknown) == (2, 1)


def test_an_image_that_says_more_inodes_than_it_has_is_damaged() -> None:
    image = bytearray(image_of(Directory(Metadata(), {b"x": _file(0o644, 104, 0)})))
    struct.pack_into("<Q", image, 1024 + 16, 1 << 40)
    with pytest.raises(DamagedImageError):
        mapped(bytes(image), {}, {})
