"""The kernel's view of bootd's images: what is mounted is the tree that was written."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from support.dumped_tree import parse_tree
from support.trees import crowded_tree, dump_of, image_of
from support.verity import verity_digest

from bootd.model.hash_algorithm import HASH_ALGORITHMS, HashAlgorithm
from bootd.model.tree import Directory, Metadata, Node, RegularFile, SpecialFile, Symlink, walk
from bootd.store.objects.verity import verity_digest as digest_by

HERE = Path(__file__).parent.parent
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in [
        (1, 6, 0xFFFF_FFFF),
        (2, 4, 1000),
        (4, 4, 0xFFFF_FFFF),
        (0x10, 6, 0xFFFF_FFFF),
        (0x20, 0, 0xFFFF_FFFF),
    ]
)
# In a mount namespace of its own, so that nothing stays mounted whatever happens.
MOUNT_AND_READ = """
set -e
mount -t erofs -o loop,ro "$1/image" "$1/metadata"
layers="lowerdir=$1/metadata::$1/objects"
mount -t overlay -o "ro,metacopy=on,redirect_dir=on,$layers" bootd "$1/root"
exec "$2" -m support.disk_tree "$1/root"
"""


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid():
        pytest.fail("mounting needs root: run these tests as root")


def mounted(root: Directory, contents: dict[bytes, bytes], tmp_path: Path) -> Directory:
    """Write a tree's image and objects, mount them and read them back through the kernel."""
    for name in ("metadata", "objects", "root"):
        (tmp_path / name).mkdir()
    (tmp_path / "image").write_bytes(image_of(root))
    for verity, content in contents.items():
        place = tmp_path / "objects" / verity.hex()[:2] / verity.hex()[2:]
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT_AND_READ]
    search = os.pathsep.join([str(HERE), str(HERE.parent)])
    done = subprocess.run(
        [*command, "sh", tmp_path, sys.executable],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": search},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return parse_tree(done.stdout.splitlines())


@pytest.mark.parametrize("algorithm", HASH_ALGORITHMS.values(), ids=list(HASH_ALGORITHMS))
def test_one_of_everything(tmp_path: Path, algorithm: HashAlgorithm) -> None:
    some = (b"a" * 65, b"b" * 4096, b"c" * 70_001)
    contents = {digest_by(data, algorithm): data for data in some}
    first, second, third = (
        RegularFile(Metadata(0o640, 1, 2, 1_700_000_000 + size, 5), size, verity=verity)
        for verity, size in ((verity, len(data)) for verity, data in contents.items())
    )
    first.metadata.permissions = 0o4755
    second.metadata.xattrs = {
        b"security.capability": b"\1\0\0\2" + bytes(16),
        b"user.a": b"v" * 999,
    }
    third.metadata.xattrs = {b"trusted.overlay.origin": b"nested", b"trusted.plain": b""}
    third.metadata.mtime_seconds = -86_400
    entries: dict[bytes, Node] = {
        b"00": RegularFile(Metadata(0o644), 2, b"00"),
        b"objects": Directory(
            Metadata(0o1777), {b"1": first, b"2": second, b"3": third, b"4": second}
        ),
        b"second": second,
        b"empty": RegularFile(Metadata(0o600, 1 << 31, (1 << 32) - 2), 0, b""),
        b"acl": RegularFile(Metadata(0o660, xattrs={b"system.posix_acl_access": ACL}), 3, b"acl"),
        b"\xff\n\\": RegularFile(Metadata(0o644), 64, b"i" * 64),
        b"n" * 255: Directory(Metadata(0o700, mtime_nanoseconds=999_999_999)),
        b"short": Symlink(Metadata(0o777), b"objects/1"),
        b"long": Symlink(Metadata(0o777), b"./" * 2047),
        b"null": SpecialFile(Metadata(0o666), stat.S_IFCHR, os.makedev(1, 3)),
        b"disk": SpecialFile(Metadata(0o660), stat.S_IFBLK, os.makedev(259, 70_000)),
        b"fifo": SpecialFile(Metadata(0o644), stat.S_IFIFO),
        b"socket": SpecialFile(Metadata(0o644), stat.S_IFSOCK),
        **crowded_tree(1000).entries,
    }
    root = Directory(Metadata(0o755, mtime_seconds=1_600_000_000), entries)
    seen = mounted(root, contents, tmp_path)
    for file, data in zip((first, second, third), some, strict=True):
        file.verity = verity_digest(data)  # as `support.disk_tree` names what it reads
    assert dump_of(seen) == dump_of(root)


def test_whiteouts_reach_an_overlay_inside(tmp_path: Path) -> None:
    """A store of containers in the image: its whiteouts show as overlayfs marks them."""
    whiteout = SpecialFile(Metadata(0o600), stat.S_IFCHR)
    root = Directory(Metadata(), {b"layer": Directory(Metadata(), {b"gone": whiteout})})
    seen = dict(walk(mounted(root, {}, tmp_path)))
    assert set(seen) == {b"layer", b"layer/gone"}
    assert seen[b"layer/gone"].metadata.xattrs[b"trusted.overlay.whiteout"] == b""
    assert seen[b"layer"].metadata.xattrs[b"trusted.overlay.opaque"] == b"x"


def test_the_object_store_is_not_seen(tmp_path: Path) -> None:
    """The folders of the object store lie under the root, hidden from it."""
    data = b"o" * 100
    verity = verity_digest(data)
    root = Directory(Metadata(), {b"f": RegularFile(Metadata(), 100, verity=verity)})
    assert set(mounted(root, {verity: data}, tmp_path).entries) == {b"f"}


def test_fsck_of_erofs_utils_finds_nothing(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(image_of(crowded_tree(1000)))
    done = subprocess.run(["fsck.erofs", image], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
