"""The store against other programs: umoci unpacks the same images, GNU tar writes the layers.

Needs root (devices, owners, mounts) and the packages umoci and tar.
"""

import os
import stat
import subprocess
import tarfile

import pytest
from support.images import (
    OCI_LAYER,
    PackedLayer,
    build_image,
    compress,
    digest,
    entry,
    tar_layer,
    write_oci_layout,
)
from support.stored_layer import stored_layer
from support.tar_blocks import END, extended, header, long_name, member, octal
from support.tree_facts import as_deployed, differences, tree_facts, without_mount_points

from bootd.model.digest import Digest
from bootd.model.registry.image import CachedCheck, ResolvedImage
from bootd.model.tree import Directory, RegularFile, SpecialFile, Symlink, walk
from bootd.process import run
from bootd.registry.manifest import parse_config, parse_manifest
from bootd.store.contents import StoreContents
from bootd.store.images.growing_tree import GrowingTree
from bootd.store.images.image import compose_image
from bootd.store.mount import mounted_tree
from bootd.sysroot import Sysroot

FOLDER, SYMLINK, HARD, FIFO = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE
CAPABILITY = "\x01\x00\x00\x02\x00\x20\x00\x00" + "\x00" * 12


def folder(name, **more):
    return entry(name, FOLDER, mode=0o755, **more), b""


def file(name, content=b"", **more):
    return entry(name, **more), content


def link(name, target, kind=SYMLINK):
    return entry(name, kind, target=target), b""


def device(name, kind, major, minor):
    info = entry(name, kind, mode=0o640)
    info.devmajor, info.devminor = major, minor
    return info, b""


def without_end(stream):
    return stream.rstrip(b"\0") + bytes(-len(stream.rstrip(b"\0")) % 512)


BASE = without_end(
    tar_layer(
        [
            folder("./"),
            folder("usr", xattrs={"user.folder": "yes"}),
            folder("usr/bin", mtime=1_600_000_000),
            file("usr/bin/tool", b"tool" * 1000, mode=0o4755),
            file("usr/bin/capable", b"c" * 65, xattrs={"security.capability": CAPABILITY}),
            file("usr/bin/owned", b"o" * 64, uid=1000, gid=100, xattrs={"user.a": "b" * 500}),
            file("usr/bin/empty", mode=0o600),
            link("usr/bin/hard", "usr/bin/tool", HARD),
            link("usr/bin/hard-empty", "./usr/bin/empty", HARD),
            link("usr/bin/sh", "tool"),
            link("usr/bin/dangling", "/nowhere/at/all"),
            (entry("usr/lib/fifo", FIFO, mode=0o622), b""),
            device("usr/lib/null", tarfile.CHRTYPE, 1, 3),
            device("usr/lib/disk", tarfile.BLKTYPE, 259, 70_000),
            file("usr/lib/" + "long-name-" * 25, b"n" * 100),
            file("usr/lib/" + "deep/" * 60 + "file", b"d" * 100),
            file("usr/lib/\udcff\udcfe latin \n", b"bytes" * 100),
            file("usr/lib/\N{SNOWMAN}", b"snow"),
            file("usr/lib/big", os.urandom(3 << 20) * 2),
            folder("usr/replaced"),
            file("usr/replaced/old", b"o" * 100),
            folder("usr/kept", uid=7),
            file("usr/kept/one", b"1" * 100),
            file("usr/kept/two", b"2" * 100),
            folder("usr/emptied"),
            file("usr/emptied/one", b"1"),
            file("usr/emptied/sub/two", b"2"),
            file("usr/becomes-folder", b"f"),
            folder("usr/becomes-file"),
            file("usr/becomes-file/x", b"x"),
            link("lib", "usr/lib"),
            folder("etc"),
            file("etc/motd", b"welcome\n" * 20),
            link("etc/mtab", "../proc/self/mounts"),
        ]
    )
)
ODD = (
    member(b"usr/odd/base256", b"x" * 100, mtime=octal(1_500_000_000, 12))
    + long_name(b"usr/odd/" + b"gnu-long/" * 20 + b"file")
    + member(b"cut", b"g" * 70)
    + extended(
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"usr/odd/sparse"),
        (b"GNU.sparse.realsize", b"200000"),
    )
    + member(b"usr/odd/GNUSparseFile.1/sparse", b"1\n100000\n512\n".ljust(512, b"\0") + b"S" * 512)
    + extended((b"mtime", b"1234567890.987654321"))
    + header(b"usr/odd/times", b"5", mode=octal(0o755, 8))
    + END
)
MIDDLE = tar_layer(
    [
        folder("usr/kept", uid=8, mtime=1_650_000_000),
        file("usr/kept/.wh.one"),
        file("usr/kept/three", b"3" * 100),
        file("usr/emptied/.wh..wh..opq"),
        folder("usr/emptied"),
        file("usr/emptied/new", b"new" * 50),
        file("usr/.wh.replaced"),
        file(".wh.nothing-there"),
        folder("usr/becomes-folder"),
        file("usr/becomes-folder/in", b"in"),
        file("usr/becomes-file", b"now a file"),
        link("usr/bin/cross", "usr/bin/tool", HARD),
        file("usr/bin/.wh.hard-empty"),
        file("lib/through-a-link", b"t" * 100),
    ]
)
# umoci leaves the time of unpacking on folders that the last layer changes and does not list.
FOLDERS = [
    "/".join(path.split("/")[:count])
    for path in (
        *("etc", "usr/bin", "usr/kept", "usr/emptied", "usr/becomes-folder", "usr/replaced"),
        *("usr/odd/" + "gnu-long/" * 20, "usr/lib/" + "deep/" * 60),
    )
    for count in range(1, len(path.rstrip("/").split("/")) + 1)
]
TOP = tar_layer(
    [
        folder("usr/replaced", mtime=1_660_000_000),
        file("usr/replaced/new", b"n" * 100),
        file("usr/bin/tool", b"another tool " * 100, mode=0o755),
        file("usr/bin/.wh.sh"),
        link("usr/bin/sh", "/usr/bin/tool"),
        file("etc/motd", b"hello\n" * 20),
        *(folder(name, uid=len(name), xattrs={"user.a": name}) for name in FOLDERS),
        folder("."),
    ]
)
LAYERS = (BASE + ODD, MIDDLE, TOP)


@pytest.fixture
def sysroot(tmp_path):
    assert os.geteuid() == 0, "run this test as root: it makes devices and mounts"
    made = Sysroot.at(tmp_path / "root")
    made.initialise()
    return made


@pytest.mark.parametrize(
    ("compression", "called"),
    [("gzip", "gzip"), ("zstd", "zstd"), ("none", "none"), ("zstd", "gzip"), ("none", "zstd")],
)
def test_a_mounted_image_is_what_umoci_unpacks(tmp_path, sysroot, compression, called):
    built = build_image(LAYERS, compression="gzip")
    write_oci_layout(tmp_path / "oci", built)
    run(["umoci", "raw", "unpack", "--image", f"{tmp_path}/oci:latest", tmp_path / "unpacked"])
    packed = [PackedLayer(tar, compress(tar, compression), called) for tar in LAYERS]
    image = stored(sysroot, build_image(packed))
    (tmp_path / "mount").mkdir()
    with mounted_tree(image.erofs, sysroot.objects, tmp_path / "mount") as root:
        found = tree_facts(root)
        assert (root / "usr/odd/times").stat().st_mtime_ns == 1_234_567_890_987_654_321
        tool, hard = root / "usr/bin/cross", root / "usr/bin/hard"
        assert tool.stat().st_ino == hard.stat().st_ino
    expected = as_deployed(tree_facts(tmp_path / "unpacked"))
    found = without_mount_points(found)
    assert not differences(expected, found), "\n".join(differences(expected, found))
    assert len(found) > 100


def stored(sysroot, built):
    manifest = parse_manifest(built.manifest, built.media_type)
    config_bytes = built.blobs[manifest.config.digest]
    image = ResolvedImage(
        reference="oci:/images:latest",
        digest=Digest(built.digest),
        manifest=manifest,
        manifest_bytes=built.manifest,
        config=parse_config(config_bytes, manifest),
        config_bytes=config_bytes,
        seen=CachedCheck(
            reference="oci:/images:latest", platform="", top=built.digest, digest=built.digest
        ),
    )
    for layer, diff_id in image.layers:
        blob = built.blobs[layer.digest]
        chunks = (blob[at : at + 70_000] for at in range(0, len(blob), 70_000))
        stored_layer(sysroot, chunks, media_type=layer.media_type, diff_id=diff_id)
    return compose_image(sysroot, image).publish()


def make_tree(top):
    """Every kind of file; names short enough for all tar formats."""
    (top / "folder/sub").mkdir(parents=True)
    (top / "folder").chmod(0o2750)
    (top / "folder/small").write_bytes(b"small")
    (top / "folder/file").write_bytes(b"content" * 1000)
    (top / "folder/\udcffbytes").write_bytes(b"b" * 100)
    os.link(top / "folder/file", top / "folder/sub/hard")
    (top / "link").symlink_to("folder/file")
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chown(top / "folder/small", 12345, 23456)
    with (top / "holes").open("wb") as stream:
        for at in range(0, 60 << 16, 3 << 16):
            stream.seek(at)
            stream.write(b"data" * 3000)
        stream.truncate(5_000_000)
    os.setxattr(top / "folder/file", "user.text", b"\x00=\n\xff")
    os.utime(top / "folder/small", ns=(0, 1_700_000_000_123_456_789))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--format=ustar"], id="ustar"),
        pytest.param(["--format=oldgnu", "--sparse"], id="oldgnu"),
        pytest.param(["--format=gnu", "--sparse"], id="gnu"),
        pytest.param(["--format=posix", "--xattrs"], id="posix"),
        pytest.param(["--format=posix", "--sparse", "--sparse-version=0.0"], id="0.0"),
        pytest.param(["--format=posix", "--sparse", "--sparse-version=0.1"], id="0.1"),
        pytest.param(["--format=posix", "--sparse", "--sparse-version=1.0"], id="1.0"),
    ],
)
def test_what_gnu_tar_writes(tmp_path, sysroot, options):
    top = tmp_path / "tree"
    make_tree(top)
    done = subprocess.run(
        ["tar", *options, "--numeric-owner", "-C", top, "-cf", "-", "."],
        capture_output=True,
        check=True,
    )
    diff_id = Digest(digest(done.stdout))
    stored_layer(sysroot, [done.stdout], media_type=OCI_LAYER, diff_id=diff_id)
    root = GrowingTree(sysroot, [diff_id]).whole()
    contents = StoreContents(sysroot)
    found = {os.fsdecode(path): node for path, node in walk(root)}
    assert found.keys() == {str(path.relative_to(top)) for path in top.rglob("*")}
    exact = "posix" in options[0]
    for path, node in found.items():
        compare(top / path, node, contents, nanoseconds=exact, xattrs="--xattrs" in options)
    assert found["folder/file"] is found["folder/sub/hard"]


def compare(path, node, contents, *, nanoseconds, xattrs):
    status = path.lstat()
    metadata = node.metadata
    assert metadata.permissions == stat.S_IMODE(status.st_mode)
    assert (metadata.uid, metadata.gid) == (status.st_uid, status.st_gid)
    assert metadata.mtime_seconds == status.st_mtime_ns // 10**9
    if nanoseconds:
        assert metadata.mtime_nanoseconds == status.st_mtime_ns % 10**9
    if xattrs:
        names = os.listxattr(path, follow_symlinks=False)
        assert metadata.xattrs == {os.fsencode(name): os.getxattr(path, name) for name in names}
    match node:
        case Directory():
            assert path.is_dir()
        case RegularFile():
            assert contents.read(node) == path.read_bytes()
        case Symlink(target=target):
            assert os.fsdecode(target) == str(path.readlink())
        case SpecialFile(file_type=kind, rdev=rdev):
            assert (kind, rdev) == (stat.S_IFMT(status.st_mode), status.st_rdev)
