"""Images that an attacker made: each is refused by name, in bounded memory, and leaves nothing.

``pytest -v`` prints the list. Bounds that take longer to reach are met in tests/unit, each by its
reader: test_layer_tar, test_layer_decompress, test_tree_limits.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import zstandard
from support.attacked import (
    Scene,
    attacked,
    changed_blob,
    changed_config,
    changed_manifest,
    image,
    layer_above,
    layer_of,
    machine_on_v1,
    with_config,
    without,
)
from support.images import OCI_MANIFEST, BuiltImage, build_image, build_index, entry, tar_layer
from support.machine import KERNEL, Machine
from support.tar_blocks import END, base_256, extended, header, long_name, member, padded

from bootd.model.errors import (
    BootdError,
    DiffIdMismatchError,
    DigestMismatchError,
    ImageNotFoundError,
    InvalidKernelArgumentsError,
    InvalidLayerError,
    InvalidManifestError,
    InvalidTreeError,
    ManifestTooLargeError,
    NoInitramfsError,
    NoKernelError,
    NoMatchingPlatformError,
    SeveralKernelsError,
    SizeMismatchError,
    UnknownMediaTypeError,
)

MODULES = f"usr/lib/modules/{KERNEL}"
KARGS = "usr/lib/bootc/kargs.d"
SPARSE = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"))
A_FILE = tar_layer({"usr/a": b"x"})

Attack = tuple[Callable[[], BuiltImage], type[BootdError], str]


def changed_layer(**changes: object) -> BuiltImage:
    return changed_manifest(lambda manifest: manifest["layers"][0].update(changes))


def entries(*blocks: bytes) -> BuiltImage:
    return layer_above(b"".join(blocks) + END)


def sparse(map_: bytes, size: int, stored: bytes = b"") -> BuiltImage:
    records = (*SPARSE, (b"GNU.sparse.name", b"usr/s"), (b"GNU.sparse.realsize", b"%d" % size))
    return entries(extended(*records), member(b"x", map_ + stored))


def window(tar: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(tar) + packer.flush()


def nested(depth: int) -> BuiltImage:
    inner = image("v2")
    for _ in range(depth):
        inner = build_index([(inner, None)])
    return inner


DOCUMENTS: dict[str, Attack] = {
    "manifest that is no JSON": (
        lambda: replace(image("v2"), manifest=b"{"), InvalidManifestError, "is not JSON"),
    "manifest that is a list": (
        lambda: replace(image("v2"), manifest=b"[]"), InvalidManifestError, "not a JSON object"),
    "manifest nested without end": (
        lambda: replace(image("v2"), manifest=b'{"a":' * 100_000), InvalidManifestError, "JSON"),
    "manifest with a number of a million digits": (
        lambda: replace(image("v2"), manifest=b'{"a":' + b"9" * 1_000_000 + b"}"),
        InvalidManifestError, "is not JSON"),
    "manifest too large": (
        lambda: changed_manifest(lambda m: m.update(annotations={"a": "x" * (5 << 20)})),
        ManifestTooLargeError, "bytes"),
    "manifest that is an index as well": (
        lambda: changed_manifest(lambda m: m.update(manifests=[])),
        InvalidManifestError, "both layers and manifests"),
    "manifest that says it is an index": (
        lambda: changed_manifest(
            lambda m: m.update(mediaType="application/vnd.oci.image.index.v1+json")),
        InvalidManifestError, "came as"),
    "manifest of an unknown type": (
        lambda: replace(image("v2"), media_type="application/x-unknown", manifest=b"{}"),
        UnknownMediaTypeError, "media type"),
    "manifest of schema 1": (
        lambda: replace(image("v2"), media_type="", manifest=b'{"schemaVersion":1}'),
        UnknownMediaTypeError, "schema 1"),
    "manifest without layers": (
        lambda: changed_manifest(lambda m: m.pop("layers")), InvalidManifestError, "layers"),
    "manifest with more layers than the configuration": (
        lambda: changed_manifest(lambda m: m["layers"].append(m["layers"][0])),
        InvalidManifestError, "2 layers, its configuration 1 diff IDs"),
    "artifact": (
        lambda: changed_manifest(lambda m: m["config"].update(mediaType="application/x-helm")),
        UnknownMediaTypeError, "this is an artifact"),
    "index of another architecture": (
        lambda: build_index([(image("v2"), {"architecture": "s390x", "os": "linux"})]),
        NoMatchingPlatformError, "s390x"),
    "index of nothing": (lambda: build_index([]), NoMatchingPlatformError, "no image"),
    "index that comes as a manifest": (
        lambda: replace(nested(1), media_type=OCI_MANIFEST), InvalidManifestError, "came as"),
    "indexes within indexes": (lambda: nested(6), InvalidManifestError, "more than 4 deep"),
    "layer of an unknown type": (
        lambda: changed_layer(mediaType="text/plain"), UnknownMediaTypeError, "text/plain"),
    "layer of less than no bytes": (
        lambda: changed_layer(size=-1), InvalidManifestError, "layers.0.size"),
    "layer whose size is text": (
        lambda: changed_layer(size="1"), InvalidManifestError, "layers.0.size"),
    "layer of a million terabytes": (
        lambda: changed_layer(size=1 << 60), InvalidManifestError, "less than or equal to"),
    "layer with a digest of a broken hash": (
        lambda: changed_layer(digest="md5:" + "0" * 32), InvalidManifestError, "md5"),
    "layer whose digest climbs out": (
        lambda: changed_layer(digest="sha256:../../../../etc/shadow"),
        InvalidManifestError, "digest"),
    "configuration that is no JSON": (
        lambda: with_config(b"{"), InvalidManifestError, "configuration is not JSON"),
    "configuration without diff IDs": (
        lambda: changed_config(lambda c: c.pop("rootfs")), InvalidManifestError, "diffIds"),
    "configuration too large": (
        lambda: changed_config(lambda c: c["config"]["Labels"].update(a="x" * (5 << 20))),
        ManifestTooLargeError, "configuration"),
    "configuration for another architecture": (
        lambda: changed_config(lambda c: c.update(architecture="s390x")),
        NoMatchingPlatformError, "this one is for"),
    "another diff ID": (
        lambda: changed_config(lambda c: c["rootfs"].update(diff_ids=["sha256:" + "0" * 64])),
        DiffIdMismatchError, "unpacks to"),
}  # fmt: skip
BLOBS: dict[str, Attack] = {
    "layer with another digest": (
        lambda: changed_blob(lambda data: bytes([data[0] ^ 1]) + data[1:]),
        DigestMismatchError, "sha256:"),
    "layer too short": (lambda: changed_blob(lambda data: data[:-9]), SizeMismatchError, "bytes"),
    "layer too long": (lambda: changed_blob(lambda data: data + b"x"), SizeMismatchError, "bytes"),
    "layer missing": (
        lambda: replace(image("v2"), blobs={}), ImageNotFoundError, "not found"),
    "layer that is no tar": (
        lambda: build_image([b"this is no tar stream" * 100]), InvalidLayerError, "layer 1"),
    "layer compressed with xz": (
        lambda: layer_above(A_FILE, pack=lzma.compress), UnknownMediaTypeError, "with xz"),
    "layer compressed with bzip2": (
        lambda: layer_above(A_FILE, pack=bz2.compress), UnknownMediaTypeError, "with bzip2"),
    "gzip layer that ends early": (
        lambda: layer_above(A_FILE, pack=lambda tar: gzip.compress(tar)[:-6]),
        InvalidLayerError, "layer 2: a gzip layer"),
    "gzip layer with a wrong checksum": (
        lambda: layer_above(A_FILE, pack=lambda tar: gzip.compress(tar)[:-8] + b"01234567"),
        InvalidLayerError, "layer 2: a gzip layer"),
    "gzip layer followed by something else": (
        lambda: layer_above(A_FILE, pack=lambda tar: gzip.compress(tar) + b"#!/bin/sh"),
        InvalidLayerError, "layer 2: a gzip layer"),
    "gzip members without content": (
        lambda: layer_above(A_FILE, pack=lambda _: gzip.compress(b"") * 20_000),
        InvalidLayerError, "parts in its first 0 bytes"),
    "zstd frames without content": (
        lambda: layer_above(A_FILE, pack=lambda _: zstandard.compress(b"") * 20_000),
        InvalidLayerError, "parts in its first 0 bytes"),
    "zstd layer that wants a gigabyte of memory": (
        lambda: layer_above(A_FILE, pack=window), InvalidLayerError, "of memory"),
    "zeros without end": (
        lambda: layer_above(bytes(512) + b"x" * 512), InvalidLayerError, "single zero block"),
}  # fmt: skip
HEADERS: dict[str, Attack] = {
    "header with a wrong checksum": (
        lambda: entries(b"X" + member(b"usr/a")[1:]), InvalidLayerError, "checksum is wrong"),
    "entry of an unknown type": (
        lambda: entries(header(b"usr/a", b"8")), InvalidLayerError, "unknown tar type"),
    "entry that is cut off": (
        lambda: layer_above(header(b"usr/a", size=5_000) + b"x" * 512),
        InvalidLayerError, "ends in the middle"),
    "extended header that is cut off": (
        lambda: layer_above(extended((b"path", b"x"))), InvalidLayerError, "after an extended"),
    "zero block in the middle": (
        lambda: layer_above(member(b"usr/a") + bytes(512) + member(b"usr/lost") + END),
        InvalidLayerError, "single zero block"),
    "size below nothing": (
        lambda: entries(header(b"usr/a", size=base_256(-1, 12))), InvalidLayerError, "usr/a"),
    "size of eighty bits": (
        lambda: entries(header(b"usr/a", size=base_256(1 << 80, 12))), InvalidLayerError, "usr/a"),
    "device beyond the kernel's": (
        lambda: entries(header(b"dev", b"3", major=base_256(1 << 20, 8))),
        InvalidLayerError, "device major"),
    "owner beyond 32 bits": (
        lambda: entries(extended((b"uid", b"%d" % (1 << 40))), member(b"usr/a")),
        InvalidLayerError, "uid"),
    "mode that is no number": (
        lambda: entries(member(b"usr/a", mode=b"09999999")), InvalidLayerError, "b'09999999'"),
    "time that is none": (
        lambda: entries(extended((b"mtime", b"1.7e9")), member(b"usr/a")),
        InvalidLayerError, "malformed time"),
    "time beyond all ages": (
        lambda: entries(extended((b"mtime", b"9" * 40)), member(b"usr/a")),
        InvalidLayerError, "time"),
    "extended header of two megabytes": (
        lambda: entries(extended((b"comment", b"x" * (2 << 20))), member(b"usr/a")),
        InvalidLayerError, "is an extended header of"),
    "extended record of a wrong length": (
        lambda: entries(header(b"PaxHeader", b"x", size=11), padded(b"99 path=usr"), member(b"a")),
        InvalidLayerError, "damaged extended header"),
    "very many attributes": (
        lambda: entries(
            extended(*((b"SCHILY.xattr.user.%04d" % at, b"x") for at in range(2_500))),
            member(b"usr/a")),
        InvalidLayerError, "extended attributes, more than 32767"),
    "attribute with a name nobody could hold": (
        lambda: entries(extended((b"SCHILY.xattr.user." + b"n" * 300, b"x")), member(b"usr/a")),
        InvalidLayerError, "usr/a"),
    "hole of exabytes": (
        lambda: sparse(padded(b"1\n0\n0\n"), 1 << 60), InvalidLayerError, "more than"),
    "sparse map without a newline": (
        lambda: sparse(b"9" * 100_000, 4_096), InvalidLayerError, "usr/s"),
    "sparse map that overlaps": (
        lambda: sparse(padded(b"2\n0\n512\n256\n512\n"), 4_096, bytes(1_024)),
        InvalidLayerError, "usr/s"),
    "sparse map beyond the file": (
        lambda: sparse(padded(b"1\n4000\n512\n"), 4_096, bytes(512)), InvalidLayerError, "usr/s"),
}  # fmt: skip
NAMES: dict[str, Attack] = {
    "entry that climbs out": (
        lambda: layer_of((entry("../outside"), b"x")), InvalidLayerError, "leaves the image"),
    "entry that climbs out from within": (
        lambda: layer_of((entry("usr/../../outside"), b"x")), InvalidLayerError, "outside"),
    "long name that climbs out": (
        lambda: entries(long_name(b"a/" * 80 + b"../" * 81 + b"outside"), member(b"a")),
        InvalidLayerError, "leaves the image"),
    "extended name that climbs out": (
        lambda: entries(extended((b"path", b"./.././../outside")), member(b"a")),
        InvalidLayerError, "leaves the image"),
    "entry without a name": (lambda: entries(member(b"")), InvalidLayerError, "empty name"),
    "name of 256 bytes": (
        lambda: layer_of((entry("usr/" + "n" * 256), b"")), InvalidLayerError, "longer than"),
    "path of 5,000 bytes": (
        lambda: layer_of((entry("/".join(["n" * 200] * 25)), b"")), InvalidLayerError, "a path"),
    "folders 1,500 deep": (
        lambda: layer_of((entry("a/" * 1_500 + "b"), b"")), InvalidLayerError, "folders deep"),
    "root that is a file": (
        lambda: layer_of((entry("./"), b"x")), InvalidLayerError, "root is not a folder"),
    "symbolic link to nothing": (
        lambda: entries(header(b"usr/l", b"2")), InvalidLayerError, "links to a name of 0 bytes"),
    "symbolic link of 5,000 bytes": (
        lambda: layer_of((entry("usr/l", tarfile.SYMTYPE, target="n" * 5_000), b"")),
        InvalidLayerError, "links to a name of 5000 bytes"),
    "hard link that climbs out": (
        lambda: layer_of((entry("usr/l", tarfile.LNKTYPE, target="../../etc/shadow"), b"")),
        InvalidLayerError, "leaves the image"),
    "hard link to nothing": (
        lambda: layer_of((entry("usr/l", tarfile.LNKTYPE, target="usr/nothing"), b"")),
        InvalidLayerError, "layer 2: entry '/usr/l'"),
    "hard link to itself": (
        lambda: layer_of((entry("usr/l", tarfile.LNKTYPE, target="usr/l"), b"")),
        InvalidLayerError, "layer 2: entry '/usr/l'"),
    "hard link to a folder": (
        lambda: layer_of((entry("usr/l", tarfile.LNKTYPE, target="usr/bin"), b"")),
        InvalidLayerError, "layer 2: entry '/usr/l'"),
    "whiteout of nothing": (
        lambda: layer_of((entry("usr/.wh."), b"")), InvalidLayerError, "whiteout of nothing"),
    "whiteout of the folder above": (
        lambda: layer_of((entry("usr/.wh..."), b"")), InvalidLayerError, "whiteout of nothing"),
    "entry below a link that leads around": (
        lambda: layer_of(
            (entry("usr/l", tarfile.SYMTYPE, target="l"), b""), (entry("usr/l/x"), b"x")),
        InvalidLayerError, "usr/l"),
}  # fmt: skip
CONTENTS: dict[str, Attack] = {
    "no kernel": (lambda: without(f"{MODULES}/vmlinuz"), NoKernelError, "vmlinuz"),
    "no initramfs": (
        lambda: without(f"{MODULES}/initramfs.img"), NoInitramfsError, "initramfs.img"),
    "two kernels": (
        lambda: image("v2", **{"usr/lib/modules/7.0.0/vmlinuz": b"another kernel" * 9}),
        SeveralKernelsError, "7.0.0"),
    "kernel that is a link": (
        lambda: image("v2", **{f"{MODULES}/vmlinuz": "/etc/shadow"}), NoKernelError, "vmlinuz"),
    "defaults twice": (
        lambda: image("v2", **{"usr/etc/x": b"x" * 100}), InvalidTreeError, "/usr/etc"),
    "kernel arguments that do not parse": (
        lambda: image("v2", **{f"{KARGS}/20-bad.toml": b"kargs = [1"}),
        InvalidKernelArgumentsError, "20-bad.toml"),
    "kernel arguments in a quote without an end": (
        lambda: image("v2", **{f"{KARGS}/20-bad.toml": b"kargs = ['a=\"b']"}),
        InvalidKernelArgumentsError, "20-bad.toml"),
    "kernel argument with a newline": (
        lambda: image("v2", **{f"{KARGS}/20-bad.toml": b'kargs = ["a\\nlinux /evil"]'}),
        InvalidKernelArgumentsError, "20-bad.toml"),
    "kernel arguments of 5,000 bytes": (
        lambda: image("v2", **{f"{KARGS}/20-bad.toml": b'kargs = ["' + b"a" * 5_000 + b'"]'}),
        InvalidKernelArgumentsError, "asks for arguments of 5"),
    "thousands of kernel arguments": (
        lambda: image("v2", **{f"{KARGS}/20-bad.toml": b"kargs = [" + b'"a",' * 5_000 + b"]"}),
        InvalidKernelArgumentsError, "asks for 5"),
}  # fmt: skip
ATTACKS = {**DOCUMENTS, **BLOBS, **HEADERS, **NAMES, **CONTENTS}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return machine_on_v1(tmp_path_factory.mktemp("images"))


@pytest.fixture
def scene(machine: Machine) -> Iterator[Scene]:
    with attacked(machine) as made:
        yield made


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_image_is_refused(name: str, scene: Scene) -> None:
    make, error, words = ATTACKS[name]
    before = scene.stored()
    scene.serve(make())
    scene.refuses(error, words)
    assert scene.stored() == before, "it left something in the store"


def test_they_are_sixty_and_more() -> None:
    assert len(ATTACKS) >= 60


def test_after_all_of_them_a_good_image_is_taken(scene: Scene) -> None:
    scene.recovers()
