"""The EROFS writer and reader without other tools: known digests, round trips, forged images."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.dumped_tree import parse_tree
from support.effort import heavy
from support.golden import GOLDEN
from support.trees import (
    crowded_tree,
    deep_tree,
    dump_of,
    image_of,
    same_links,
    sample_tree,
    trees,
    verity_of,
)
from support.verity import verity_digest

from bootd.model.errors import DamagedImageError, InvalidTreeError, WriteFailedError
from bootd.model.tree import Directory, Metadata, Node, RegularFile, SpecialFile, Symlink, walk
from bootd.store.erofs import ErofsImage
from bootd.store.erofs.decoding import StoredInode, read_entries, read_inode, read_superblock
from bootd.store.erofs.layout import (
    BLOCK,
    COMPACT_INODE,
    DIRENT,
    EXTENDED_INODE,
    SUPERBLOCK_OFFSET,
)
from bootd.store.erofs.window import IMAGE_LIMIT, Window
from bootd.store.erofs.xxh32 import xxh32

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def read(image: bytes) -> Directory:
    return ErofsImage.from_bytes(image).root()


def file_of(content: bytes = b"x", **fields: Any) -> RegularFile:
    return RegularFile(Metadata(**fields), len(content), content)


@pytest.mark.parametrize("name", GOLDEN)
def test_images_have_the_digests_mkcomposefs_gives_them(name: str) -> None:
    make, digest = GOLDEN[name]
    assert hashlib.sha256(image_of(make())).hexdigest() == digest


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("attributes", "ee7fc51ef81f56100961aa0717704a8453a0c639bfec5c5b56dada9acee94e19"),
        ("layers", "fbed9fee35f8b9bd51ae6213ab9b83b0349051e6bebfd943a573f309bc2a09dd"),
        ("selinux", "3486ea01cf9975f1216617a88c3cb170218431bce231828e3cc010dc447ced6f"),
    ],
)
def test_images_have_the_digests_that_composefs_rs_gives_them(name: str, digest: str) -> None:
    """Version 1 of three trees that its release 0.9.0 made of images."""
    dump = (Path(__file__).parent / f"composefs_trees/{name}.dump").read_bytes()
    tree = parse_tree(dump.splitlines(keepends=True))
    image = image_of(tree, 1)
    assert verity_digest(image).hex() == digest
    assert dump_of(read(image)) == dump_of(tree)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_version_is_a_word_of_the_header(name: str) -> None:
    tree = GOLDEN[name][0]()
    plain, named = image_of(tree), image_of(tree, 1)
    assert plain[:12] + b"\1" + plain[13:] == named
    assert dump_of(read(named)) == dump_of(read(plain))


@pytest.mark.parametrize(
    ("data", "seed", "expected"),
    [
        (b"", 0, 0x02CC5D05),
        (b"", 0x9E3779B1, 0x36B78AE7),
        (b"a", 0, 0x550D7456),
        (b"abc", 0, 0x32D153FF),
        (b"Nobody inspects the spammish repetition", 0, 0xE2293B2F),
    ],
)
def test_xxh32_gives_published_values(data: bytes, seed: int, expected: int) -> None:
    assert xxh32(data, seed) == expected


@given(root=trees())
@heavy(12, full=2_000)
def test_what_is_written_is_read_back(root: Directory) -> None:
    before = dump_of(root)
    back = read(image_of(root))
    assert dump_of(root) == before, "writing changed the tree"
    assert dump_of(back) == before
    assert same_links(back, root)


def test_deep_folders_are_read_back() -> None:
    assert dump_of(read(image_of(deep_tree(2040)))) == dump_of(deep_tree(2040))


def test_objects_are_all_found() -> None:
    files = {
        b"%d" % number: RegularFile(Metadata(), 100, verity=verity_of(number // 2))
        for number in range(40)
    }
    sly = b"\x10\x04\x24\x00overlay.metacopy\x00\x24\x00\x01"
    files[b"sly"] = RegularFile(Metadata(xattrs={b"security.x": sly}), 9, verity=verity_of(99))
    found = ErofsImage.from_bytes(image_of(Directory(Metadata(), dict(files)))).objects()
    assert {verity_of(number) for number in [*range(20), 99]} <= found
    assert len(found) == 22, "and what one attribute imitates"


def test_whiteouts_are_those_of_the_tree_only() -> None:
    whiteout = SpecialFile(Metadata(0o600, 1, 2, 3, 4, {b"user.x": b"y"}), stat.S_IFCHR)
    entries: dict[bytes, Node] = {b"0a": whiteout, b"d": Directory(Metadata(), {b"w": whiteout})}
    back = read(image_of(Directory(Metadata(), entries)))
    assert set(back.entries) == {b"0a", b"d"}
    assert dump_of(back) == dump_of(Directory(Metadata(), entries))


# Looking up


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"/", Directory),
        (b"", Directory),
        (b"usr", Directory),
        (b"/usr//first", RegularFile),
        (b"dev/null", SpecialFile),
        (b"bin", Symlink),
        (b"bin/sh", type(None)),
        (b"usr/third", type(None)),
        (b"usr/first/below", type(None)),
        (b"usr/..", type(None)),
        (b".", type(None)),
        (b"01", type(None)),
    ],
)
@pytest.mark.parametrize("after_all", [False, True])
def test_lookup(path: bytes, kind: type, after_all: bool) -> None:
    image = ErofsImage.from_bytes(image_of(sample_tree()))
    if after_all:
        image.root()
    assert isinstance(image.lookup(path), kind)


def test_a_node_is_one_object_in_every_answer() -> None:
    image = ErofsImage.from_bytes(image_of(sample_tree()))
    first = image.lookup(b"usr/first")
    assert first is image.lookup(b"usr/second")
    usr = image.lookup(b"usr")
    assert isinstance(usr, Directory)
    assert usr.entries[b"first"] is first
    assert image.root().entries[b"usr"] is usr
    assert image.root() is image.root()


def test_a_lookup_reads_only_what_is_below(tmp_path: Path) -> None:
    """An image whose other folders are rubbish still gives what is wanted."""
    small = Directory(Metadata(), {b"hosts": file_of(b"127.0.0.1")})
    root = Directory(Metadata(), {b"etc": small, **crowded_tree(20_000).entries})
    content = bytearray(image_of(root))
    start = content.index(b"019000---")
    content[start - BLOCK * 20 : start] = b"\xff" * BLOCK * 20
    path = tmp_path / "image"
    path.write_bytes(content)
    with ErofsImage.open(path) as image:
        found = image.lookup(b"etc")
        top = image.lookup(b"/", 1)
        with pytest.raises(DamagedImageError):
            image.root()
        again = image.lookup(b"/etc/hosts")
    assert isinstance(found, Directory)
    assert found.entries[b"hosts"] is again
    assert isinstance(top, Directory)
    assert top.entries.keys() == root.entries.keys()


@pytest.mark.parametrize("levels", [1, 2, 8, 9, None])
def test_a_lookup_reads_as_deep_as_is_wanted(levels: int | None) -> None:
    tree = deep_tree(9)
    image = ErofsImage.from_bytes(image_of(tree))
    found = image.lookup(b"d", levels)
    assert isinstance(found, Directory)
    assert len(list(walk(found))) == min(levels or 8, 8)
    assert dump_of(image.root()) == dump_of(tree)


# What cannot be written


TWICE = Directory(Metadata())


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param({b"": file_of()}, id="empty name"),
        pytest.param({b"..": file_of()}, id="dots"),
        pytest.param({b"a/b": file_of()}, id="slash"),
        pytest.param({b"a\0": file_of()}, id="NUL"),
        pytest.param({b"n" * 256: file_of()}, id="long name"),
        pytest.param({b"a": TWICE, b"b": TWICE}, id="folder twice"),
        pytest.param({b"a": Symlink(Metadata(), b"")}, id="empty target"),
        pytest.param({b"a": Symlink(Metadata(), b"t" * 4096)}, id="long target"),
        pytest.param({b"a": Symlink(Metadata(), b"t\0")}, id="NUL in target"),
        pytest.param({b"a": RegularFile(Metadata(), 5, b"four")}, id="size and content"),
        pytest.param({b"a": RegularFile(Metadata(), 65, b"c" * 65)}, id="long content"),
        pytest.param({b"a": RegularFile(Metadata(), 65)}, id="no object"),
        pytest.param({b"a": RegularFile(Metadata(), 0, verity=verity_of(1))}, id="empty object"),
        pytest.param({b"a": RegularFile(Metadata(), 9, verity=b"short")}, id="short digest"),
        pytest.param({b"a": RegularFile(Metadata(), 1 << 53, verity=verity_of(1))}, id="huge"),
        pytest.param({b"a": SpecialFile(Metadata(), stat.S_IFDIR)}, id="folder as device"),
        pytest.param({b"a": SpecialFile(Metadata(), stat.S_IFCHR, 1 << 32)}, id="device number"),
        pytest.param({b"a": file_of(permissions=0o10000)}, id="permissions"),
        pytest.param({b"a": file_of(uid=1 << 32)}, id="uid"),
        pytest.param({b"a": file_of(gid=-1)}, id="gid"),
        pytest.param({b"a": file_of(mtime_seconds=1 << 63)}, id="time"),
        pytest.param({b"a": file_of(mtime_nanoseconds=1_000_000_000)}, id="nanoseconds"),
        pytest.param({b"a": Directory(Metadata(xattrs={b"": b""}))}, id="nameless xattr"),
        pytest.param({b"a": Directory(Metadata(xattrs={b"u\0": b""}))}, id="NUL in xattr"),
        pytest.param({b"a": Directory(Metadata(xattrs={b"u" * 256: b""}))}, id="long xattr name"),
        pytest.param({b"a": Directory(Metadata(xattrs={b"u": b"v" * 32760}))}, id="long xattr"),
    ],
)
def test_a_tree_the_format_cannot_hold_is_refused(entries: dict[bytes, Node]) -> None:
    with pytest.raises(InvalidTreeError):
        image_of(Directory(Metadata(), entries))


# What cannot be read


SAMPLE = image_of(sample_tree())


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=12
    )
)
@heavy(60, full=5_000)
def test_a_changed_image_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    content = bytearray(SAMPLE)
    for offset, byte in changes:
        content[offset] = byte
    _read_or_refuse(bytes(content))


@given(
    offset=st.integers(0, len(SAMPLE) // 2 - 1).map(lambda word: 2 * word),
    value=st.sampled_from([0, 1, 0x7F, 0xFF, 0xFFF, 0x1000, 0xFFFF]) | st.integers(0, 0xFFFF),
)
@heavy(60, full=5_000)
def test_a_changed_number_is_read_or_refused(offset: int, value: int) -> None:
    _read_or_refuse(SAMPLE[:offset] + value.to_bytes(2, "little") + SAMPLE[offset + 2 :])


@given(length=st.integers(0, len(SAMPLE) - 1))
@QUICK
def test_a_cut_image_is_refused(length: int) -> None:
    with pytest.raises(DamagedImageError):
        ErofsImage.from_bytes(SAMPLE[:length])


@given(content=st.binary(max_size=3000))
@QUICK
def test_rubbish_is_refused(content: bytes) -> None:
    with pytest.raises(DamagedImageError):
        ErofsImage.from_bytes(content)


def _read_or_refuse(content: bytes) -> None:
    try:
        image = ErofsImage.from_bytes(content)
        image.objects()
        found = image.root()
    except DamagedImageError:
        return
    for _, node in walk(found):
        assert node.metadata.mtime_nanoseconds < 1_000_000_000
    dump_of(found)


# Forged folders: /one holds the folders two and three and the file four


FORGEABLE = Directory(
    Metadata(),
    {
        b"one": Directory(
            Metadata(),
            {
                b"four": file_of(),
                b"three": Directory(Metadata()),
                b"two": Directory(Metadata(), {b"five": Directory(Metadata())}),
            },
        )
    },
)


def stored(image: bytes, path: bytes) -> StoredInode:
    window = Window("image", len(image), content=image)
    superblock = read_superblock(window)
    inode = read_inode(window, superblock, superblock.root)
    for name in path.split(b"/") if path else []:
        inode = read_inode(window, superblock, read_entries(window, inode)[name].nid)
    return inode


def forged(folder: bytes, index: int, leads_to: bytes, file_type: int = 2) -> bytes:
    """The image of `FORGEABLE` where one entry of a folder leads elsewhere."""
    image = image_of(FORGEABLE)
    start = stored(image, folder).tail + DIRENT.size * index
    _, name_offset, _ = DIRENT.unpack(image[start : start + DIRENT.size])
    entry = DIRENT.pack(stored(image, leads_to).nid, name_offset, file_type)
    return image[:start] + entry + image[start + DIRENT.size :]


# The entries of /one in byte order.
DOT, DOTS, FOUR, THREE, TWO = range(5)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(forged(b"one", TWO, b"one"), id="a folder in itself"),
        pytest.param(forged(b"one", TWO, b""), id="the root below itself"),
        pytest.param(forged(b"one/two", 2, b"one"), id="a folder below itself"),
        pytest.param(forged(b"one", TWO, b"one/three"), id="a folder twice in one"),
        pytest.param(forged(b"one", THREE, b"one/two/five"), id="a folder in two"),
        pytest.param(forged(b"one", DOT, b"one/two"), id="a wrong dot"),
        pytest.param(forged(b"one", DOTS, b"one/two"), id="wrong dots"),
        pytest.param(forged(b"one", FOUR, b"one/two", 1), id="a folder as file"),
        pytest.param(forged(b"one", TWO, b"one/four"), id="a file as folder"),
        pytest.param(forged(b"one", FOUR, b"one/four", 7), id="a file as link"),
        pytest.param(forged(b"one", FOUR, b"one/four", 0), id="of no type"),
    ],
)
def test_forged_folders_are_refused(image: bytes) -> None:
    with pytest.raises(DamagedImageError):
        read(image)


def test_overlapping_folders_use_up_the_allowance() -> None:
    """Folders that all claim one large block of entries cost no more than the image is long."""
    root = crowded_tree(4000)
    for number in range(300):
        root.entries[b"claim%03d" % number] = Directory(Metadata(mtime_seconds=number + 1))
    image = bytearray(image_of(root))
    crowd = stored(bytes(image), b"crowd")
    for number in range(300):
        at = stored(bytes(image), b"claim%03d" % number).offset
        fields = list(EXTENDED_INODE.unpack(image[at : at + EXTENDED_INODE.size]))
        fields[0], fields[3], fields[4] = 1, crowd.size - crowd.size % BLOCK, crowd.address
        image[at : at + EXTENDED_INODE.size] = EXTENDED_INODE.pack(*fields)
    window = Window("image", len(image), content=bytes(image))
    superblock = read_superblock(window)
    claims = [stored(bytes(image), b"claim%03d" % number).nid for number in range(300)]
    with pytest.raises(DamagedImageError, match="overlap"):
        [read_entries(window, read_inode(window, superblock, nid)) for nid in claims]


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(0, 0, id="composefs magic"),
        pytest.param(4, 2, id="composefs format"),
        pytest.param(SUPERBLOCK_OFFSET, 0, id="magic"),
        pytest.param(SUPERBLOCK_OFFSET + 12, 9, id="block size"),
        pytest.param(SUPERBLOCK_OFFSET + 14, 0xFFFF, id="root"),
        pytest.param(SUPERBLOCK_OFFSET + 36, 0, id="blocks"),
        pytest.param(SUPERBLOCK_OFFSET + 80, 1, id="unknown feature"),
    ],
)
def test_an_unknown_superblock_is_refused(offset: int, value: int) -> None:
    image = SAMPLE[:offset] + value.to_bytes(2, "little") + SAMPLE[offset + 2 :]
    with pytest.raises(DamagedImageError):
        read(image)


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(WriteFailedError, match="No such file"):
        ErofsImage.open(tmp_path / "none")


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises((DamagedImageError, WriteFailedError)):
        ErofsImage.open(tmp_path)


def test_a_file_that_shrinks_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(image_of(crowded_tree(5000)))
    with ErofsImage.open(path) as image:
        with path.open("r+b") as stream:
            stream.truncate(BLOCK)
        with pytest.raises(DamagedImageError, match="can be read"):
            image.root()


def test_a_closed_image_reads_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(image_of(crowded_tree(5000)))
    image = ErofsImage.open(path)
    image.close()
    with path.open("rb"), pytest.raises(DamagedImageError, match="can be read"):
        image.root()


def test_an_image_beyond_the_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as stream:
        stream.truncate(IMAGE_LIMIT + BLOCK)
    with pytest.raises(DamagedImageError, match="more than"):
        ErofsImage.open(path)


def test_only_the_oldest_inodes_are_compact() -> None:
    """The known saving of 32 bytes an inode, which the layout of every image rests on."""
    old = RegularFile(Metadata(), 0, b"")
    new = replace(old, metadata=Metadata(mtime_seconds=1))
    image = image_of(Directory(Metadata(), {b"new": new, b"old": old}))
    assert stored(image, b"old").xattrs - stored(image, b"old").offset == COMPACT_INODE.size
    assert stored(image, b"new").xattrs - stored(image, b"new").offset == EXTENDED_INODE.size
