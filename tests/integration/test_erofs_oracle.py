"""bootd's images against those of the real ``mkcomposefs``: equal, byte for byte."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from support.composefs import VERSION, Composefs, composefs_tools
from support.dumped_tree import parse_tree
from support.golden import GOLDEN
from support.trees import (
    EDGES,
    TARGET_LENGTHS,
    crowded_tree,
    deep_tree,
    dump_of,
    image_of,
    sample_tree,
    trees,
    verity_of,
)
from support.verity import verity_digest

from bootd.model.tree import Directory, Metadata, RegularFile, SpecialFile, Symlink, walk
from bootd.store.erofs import ErofsImage

INODE_LIMIT_XATTRS = {b"user.%03d" % number: b"v" for number in range(140)}


@pytest.fixture(scope="session")
def composefs() -> Composefs:
    return composefs_tools()


def assert_equal_images(composefs: Composefs, root: Directory) -> None:
    ours, theirs = image_of(root), composefs.image_of_dump(dump_of(root))
    pairs = enumerate(zip(ours, theirs, strict=False))
    differs_at = next((at for at, (our, their) in pairs if our != their), None)
    assert (len(ours), differs_at) == (len(theirs), None)


def test_the_oracle_is_the_version_we_promise(composefs: Composefs) -> None:
    assert composefs.version.partition("-")[0] == VERSION


@given(root=trees())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_tree(composefs: Composefs, root: Directory) -> None:
    assert_equal_images(composefs, root)


@pytest.mark.parametrize("count", [0, 1, 2, 100, 101, 127, 128, 129, 255, 256, 257, 3000, 10_000])
@pytest.mark.parametrize("length", [6, 20, 255])
def test_folders_of_any_length(composefs: Composefs, count: int, length: int) -> None:
    assert_equal_images(composefs, crowded_tree(count, length))


def test_deep_folders(composefs: Composefs) -> None:
    assert_equal_images(composefs, deep_tree(2000))


@pytest.mark.parametrize("size", EDGES)
def test_sizes_of_objects(composefs: Composefs, size: int) -> None:
    root = Directory(Metadata(), {b"f": RegularFile(Metadata(), size, verity=verity_of(size))})
    assert_equal_images(composefs, root)


def test_links_wherever_they_start(composefs: Composefs) -> None:
    root = Directory(Metadata())
    for number, length in enumerate([*TARGET_LENGTHS, *range(3860, 4095)] * 2):
        root.entries[b"%05d" % number] = Symlink(Metadata(uid=number % 2 << 16), b"t" * length)
    assert_equal_images(composefs, root)


def test_tails_wherever_they_start(composefs: Composefs) -> None:
    root = Directory(Metadata())
    for number in range(3000):
        content = b"c" * (number * 7 % 65)
        folder = Directory(Metadata(mtime_seconds=number % 3))
        root.entries[b"%05d" % number] = folder
        for entry in range(number % 130):
            folder.entries[b"%03d" % entry] = RegularFile(Metadata(), len(content), content)
    assert_equal_images(composefs, root)


def test_more_shared_attributes_than_an_inode_may_name(composefs: Composefs) -> None:
    metadata = Metadata(xattrs=INODE_LIMIT_XATTRS)
    root = Directory(metadata, {b"a": Directory(metadata), b"b": Symlink(metadata, b"a")})
    assert_equal_images(composefs, root)
    assert dump_of(ErofsImage.from_bytes(image_of(root)).root()) == dump_of(root)


def test_whiteouts_in_an_opaque_folder(composefs: Composefs) -> None:
    opaque = Metadata(xattrs={b"trusted.overlay.opaque": b"y", b"trusted.overlay.origin": b"o"})
    whiteout = SpecialFile(Metadata(0o600), stat.S_IFCHR)
    root = Directory(opaque, {b"d": Directory(opaque, {b"w": whiteout}), b"w": whiteout})
    assert_equal_images(composefs, root)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_version_that_new_stores_have(composefs: Composefs, name: str) -> None:
    tree = GOLDEN[name][0]()
    assert image_of(tree, 1) == composefs.image_of_dump(dump_of(tree), version=1)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_digests_are_the_oracles(composefs: Composefs, name: str) -> None:
    make, digest = GOLDEN[name]
    assert hashlib.sha256(composefs.image_of_dump(dump_of(make()))).hexdigest() == digest


def test_their_reader_sees_our_tree(composefs: Composefs, tmp_path: Path) -> None:
    root = sample_tree()
    del root.entries[b"var"]  # Their reader leaves some marks on a folder with whiteouts.
    image = tmp_path / "image"
    image.write_bytes(image_of(root))
    theirs = parse_tree(composefs.dump_of_image(image).splitlines())
    assert dump_of(theirs) == dump_of(root)


def test_a_whole_debian(composefs: Composefs, tmp_path: Path) -> None:
    """Image a real tree with their tool, read it with both readers, write it again."""
    theirs = composefs.image_of_folder(composefs.debian)
    image = tmp_path / "image"
    image.write_bytes(theirs)
    their_tree = parse_tree(composefs.dump_of_image(image).splitlines())
    with ErofsImage.open(image) as opened:
        our_tree, objects = opened.root(), opened.objects()
    assert dump_of(our_tree) == dump_of(their_tree)
    assert image_of(our_tree) == theirs
    files = {path: node for path, node in walk(our_tree) if isinstance(node, RegularFile)}
    assert len(files) > 1000
    assert objects == {node.verity for node in files.values() if node.verity is not None}
    for path, node in files.items():
        content = (composefs.debian / path.decode()).read_bytes()
        assert content == node.content or verity_digest(content) == node.verity
