"""Trees for tests of the store: made by hypothesis, compared, and turned into bytes."""

from __future__ import annotations

import io
import stat
from dataclasses import replace

from hypothesis import strategies as st

from bootd.model.tree import (
    INLINE_LIMIT,
    Directory,
    Metadata,
    Node,
    RegularFile,
    SpecialFile,
    Symlink,
    walk,
)
from bootd.store.erofs import write_erofs
from support.dumped_tree import dump_tree

EDGES = (1, 63, 64, 65, 4095, 4096, 4097, 65536, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 1 << 52)
TARGET_LENGTHS = (1, 59, 60, 2047, 2048, 3900, 3930, 3950, 3990, 4030, 4063, 4064, 4065, 4095)


def image_of(root: Directory, version: int = 0) -> bytes:
    """The image bootd writes."""
    output = io.BytesIO()
    length = write_erofs(root, output, version)
    assert length == len(output.getvalue())
    return output.getvalue()


def dump_of(root: Directory) -> bytes:
    """All the lines of a tree."""
    return b"".join(dump_tree(root))


def same_links(one: Directory, other: Directory) -> bool:
    """Tell whether the same paths share a node in both trees."""
    return _partners(one) == _partners(other)


def _partners(root: Directory) -> set[frozenset[bytes]]:
    paths: dict[int, set[bytes]] = {}
    for path, node in walk(root):
        paths.setdefault(id(node), set()).add(path)
    return {frozenset(each) for each in paths.values()}


def verity_of(number: int) -> bytes:
    """A digest nobody computed."""
    return number.to_bytes(32, "big")


def names() -> st.SearchStrategy[bytes]:
    """Names as Linux allows them: any bytes but slash and NUL, up to 255, never dots."""
    byte = st.integers(1, 255).filter(lambda value: value != ord("/"))
    free = st.lists(byte, min_size=1, max_size=12).map(bytes)
    long = st.tuples(free, st.integers(200, 255)).map(lambda pair: pair[0].ljust(pair[1], b"n"))
    meeting = st.sampled_from([b"00", b"7f", b"ff", b"FF", b"-", b"!", b"...", b"a=b", b"\\", b" "])
    return st.one_of(free, long, meeting).filter(lambda name: name not in (b".", b".."))


def xattrs() -> st.SearchStrategy[dict[bytes, bytes]]:
    """Attributes of every name space composefs knows, and of some it does not.

    Not those that mark whiteouts: ``mkcomposefs`` 1.0.8 ends with an error when a folder with
    whiteouts has one already.
    """
    keys = st.sampled_from(
        [
            b"user.comment",
            b"user.overlay.origin",
            b"security.capability",
            b"security.selinux",
            b"security.ima",
            b"system.posix_acl_access",
            b"system.posix_acl_default",
            b"system.posix_acl_default_not",
            b"system.nfs4_acl",
            b"trusted.overlay.origin",
            b"trusted.overlay.metacopy",
            b"trusted.overlay.redirect",
            b"trusted.overlay.overlay.nested",
            b"trusted.overlay.overlay.overlay.nested",
            b"trusted.other",
            b"lustre.lov",
            b"unknown",
            b"user.=\\ \n",
        ]
    ) | st.binary(min_size=1, max_size=30).map(lambda rest: b"user." + rest.replace(b"\0", b"0"))
    values = st.binary(max_size=20) | st.sampled_from([b"", b"\0", b"-", b"v" * 4000, b"=" * 2000])
    return st.dictionaries(keys, values, max_size=5)


def metadata() -> st.SearchStrategy[Metadata]:
    """Owners, modes and times, common ones often and the limits sometimes."""
    owner = st.sampled_from([0, 0, 0, 1000, 65535, 65536, (1 << 32) - 1])
    seconds = st.sampled_from([0, 0, 0, 1_700_000_000, -1, -(1 << 40), (1 << 63) - 1, -(1 << 63)])
    return st.builds(
        Metadata,
        st.integers(0, 0o7777),
        owner,
        owner,
        seconds,
        st.sampled_from([0, 0, 1, 999_999_999]),
        st.just({}) | xattrs(),
    )


def leaves() -> st.SearchStrategy[Node]:
    """Nodes that are no folders; few digests, so that some files share an object."""
    content = st.binary(max_size=INLINE_LIMIT) | st.just(b"-")
    special = st.sampled_from(
        [
            (stat.S_IFCHR, 0),
            (stat.S_IFCHR, 0x103),
            (stat.S_IFBLK, 0),
            (stat.S_IFBLK, 0xFFFF_FFFF),
            (stat.S_IFIFO, 0),
            (stat.S_IFSOCK, 0),
        ]
    )
    targets = st.sampled_from(TARGET_LENGTHS).map(lambda length: b"t" * length) | names()
    digests = st.integers(0, 9).map(verity_of)
    return st.one_of(
        st.builds(lambda meta, held: RegularFile(meta, len(held), held), metadata(), content),
        st.builds(
            lambda meta, size, verity: RegularFile(meta, size, verity=verity),
            metadata(),
            st.sampled_from(EDGES),
            digests,
        ),
        st.builds(Symlink, metadata(), targets),
        st.builds(lambda meta, kind: SpecialFile(meta, *kind), metadata(), special),
    )


def trees() -> st.SearchStrategy[Directory]:
    """Whole trees, some nodes of which have several names."""
    nodes = st.recursive(
        leaves(),
        lambda below: st.builds(Directory, metadata(), st.dictionaries(names(), below, max_size=6)),
        max_leaves=25,
    )
    tops = st.builds(Directory, metadata(), st.dictionaries(names(), nodes, max_size=8))
    return st.builds(_linked, tops, st.lists(st.tuples(st.integers(0), st.integers(0), names())))


def _linked(root: Directory, links: list[tuple[int, int, bytes]]) -> Directory:
    """Give some nodes further names, picked by number."""
    folders = [root, *(node for _, node in walk(root) if isinstance(node, Directory))]
    files = [node for _, node in walk(root) if not isinstance(node, Directory)]
    for number, place, name in links if files else []:
        folders[place % len(folders)].entries.setdefault(name, files[number % len(files)])
    return root


def sample_tree() -> Directory:
    """A tree with one of everything, always the same."""
    meta = Metadata(0o755, mtime_seconds=1_700_000_000, xattrs={b"security.selinux": b"root_t\0"})
    late = replace(meta, permissions=0o644, mtime_seconds=1_700_000_001)
    large = RegularFile(replace(late, xattrs={}), 70_000, verity=verity_of(1))
    whiteout = SpecialFile(Metadata(0o000), stat.S_IFCHR)
    entries: dict[bytes, Node] = {
        b"bin": Symlink(late, b"usr/bin"),
        b"00": RegularFile(late, 5, b"taken"),
        b"empty": RegularFile(late, 0, b""),
        b"\xff\xfe not text": RegularFile(late, 64, b"s" * 64),
        b"usr": Directory(meta, {b"first": large, b"second": large}),
        b"var": Directory(meta, {b"gone": whiteout}),
        b"dev": Directory(
            meta,
            {
                b"null": SpecialFile(late, stat.S_IFCHR, 0x103),
                b"sda": SpecialFile(late, stat.S_IFBLK, 0x800),
                b"pipe": SpecialFile(late, stat.S_IFIFO),
                b"socket": SpecialFile(late, stat.S_IFSOCK),
            },
        ),
        b"long": Symlink(late, b"../" * 1360),
        b"overlay": RegularFile(
            replace(late, xattrs={b"trusted.overlay.opaque": b"y", b"user.note": b"n"}),
            1 << 33,
            verity=verity_of(2),
        ),
        b"owned": RegularFile(
            Metadata(0o4755, 70_000, 80_000, -5, 7, {b"system.posix_acl_access": b"\2\0\0\0"}),
            65,
            verity=verity_of(1),
        ),
    }
    return Directory(meta, entries)


def crowded_tree(count: int, name_length: int = 20) -> Directory:
    """A tree with one folder of many entries."""
    folder = Directory(Metadata())
    for number in range(count):
        name = b"%06d" % number
        folder.entries[name.ljust(name_length, b"-")] = RegularFile(Metadata(0o644), 1, b"x")
    return Directory(Metadata(), {b"crowd": folder, b"last": RegularFile(Metadata(), 0, b"")})


def sharing_tree() -> Directory:
    """Files of three contents, each many times, as inodes of both forms."""
    return Directory(
        Metadata(),
        {
            b"%02d" % number: RegularFile(
                Metadata(0o644, mtime_seconds=number % 2),
                3000 << number % 3,
                None,
                verity_of(number % 3),
            )
            for number in range(60)
        },
    )


def labelled_tree() -> Directory:
    """Files with SELinux labels, shared and own, of shared objects too, in all forms of inodes."""
    root = Directory(Metadata(xattrs={b"security.selinux": b"root_t"}))
    for number in range(600):
        label = b"own_%d_t" % number if number % 7 == 0 else b"shared_%d_t" % (number % 3)
        xattrs = {b"security.selinux": label}
        if number % 11 == 0:
            xattrs[b"user.more"] = b"%d" % (number % 2)
        if number % 13 == 0:
            xattrs = {}
        metadata = Metadata(0o644, 70_000 if number % 5 == 0 else 7, 0, number % 2, 0, xattrs)
        verity = verity_of(number % 4 if number % 17 == 0 else number)
        file = RegularFile(metadata, 5000 << number % 20, verity=verity)
        root.entries[b"%04d" % number] = file
        if number % 19 == 0:
            root.entries[b"%04d-too" % number] = file
    return root


def deep_tree(depth: int) -> Directory:
    """A tree of folders inside each other."""
    root = folder = Directory(Metadata())
    for _ in range(depth):
        below = Directory(Metadata())
        folder.entries[b"d"] = below
        folder = below
    return root
