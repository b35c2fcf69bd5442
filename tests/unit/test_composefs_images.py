"""Images of real layers, with the digests that composefs-rs 0.9.0 gives them, by either hash.

``tests/vectors/composefs`` has five small images and what ``cfsctl`` printed for each.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.stored_layer import stored_layer

from bootd.model.digest import Digest
from bootd.model.hash_algorithm import HASH_ALGORITHMS
from bootd.model.tree import Directory, Symlink, walk
from bootd.store.erofs import ErofsImage, encode_erofs
from bootd.store.images.growing_tree import GrowingTree
from bootd.store.objects.files import all_objects, object_path
from bootd.store.objects.verity import verity_digest
from bootd.sysroot import Sysroot

VECTORS = Path(__file__).parent.parent / "vectors/composefs"
NAMES = ("plain", "attributes", "layers", "bootable", "bootable-selinux")
ALL_ATTRIBUTES = "keep-user-xattrs"


def blob(digest: str) -> bytes:
    return (VECTORS / "layout/blobs/sha256" / digest.partition(":")[2]).read_bytes()


def images() -> dict[str, tuple[list[bytes], list[Digest]]]:
    """The layers and diff IDs of each image."""
    index = json.loads((VECTORS / "layout/index.json").read_bytes())
    found = {}
    for descriptor in index["manifests"]:
        manifest = json.loads(blob(descriptor["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))
        layers = [blob(layer["digest"]) for layer in manifest["layers"]]
        diff_ids = [Digest(text) for text in config["rootfs"]["diff_ids"]]
        name = descriptor["annotations"]["org.opencontainers.image.ref.name"]
        found[name] = (layers, diff_ids)
    return found


def expected(name: str, algorithm: str) -> str:
    """What composefs-rs says of an image of version 1 with all attributes of users."""
    rows = (line.split("\t") for line in (VECTORS / "digests.tsv").read_text().splitlines())
    wanted = [name, "plain", ALL_ATTRIBUTES, "V1", algorithm]
    (digest,) = (row[-1] for row in rows if row[:-1] == wanted)
    return digest


def as_there(root: Directory) -> None:
    """Lay a tree out as composefs-rs does: what it does to trees is no part of the format."""
    root.metadata = root.entries[b"usr"].metadata
    nodes = {id(node): node for node in (root, *(node for _, node in walk(root)))}
    for node in nodes.values():
        kept = {
            key: value
            for key, value in node.metadata.xattrs.items()
            if not key.startswith(b"trusted.") and key != b"security.selinux"
        }
        mode = 0o644 if isinstance(node, Symlink) else node.metadata.permissions
        node.metadata = replace(node.metadata, permissions=mode, xattrs=kept)


@pytest.mark.parametrize("algorithm", HASH_ALGORITHMS.values(), ids=list(HASH_ALGORITHMS))
@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_the_digest_that_composefs_rs_gives_it(tmp_path, name, algorithm):
    sysroot = Sysroot.at(tmp_path)
    sysroot.initialise(algorithm)
    layers, diff_ids = images()[name]
    for layer, diff_id in zip(layers, diff_ids, strict=True):
        kind = "application/vnd.oci.image.layer.v1.tar"
        stored_layer(sysroot, [layer], media_type=kind, diff_id=diff_id)
    root = GrowingTree(sysroot, diff_ids).whole()
    as_there(root)
    image = b"".join(encode_erofs(root, sysroot.composefs_version()))
    assert verity_digest(image, algorithm).hex() == expected(name, algorithm.name)
    objects = set(all_objects(sysroot))
    for verity in objects:
        assert verity_digest(object_path(sysroot, verity).read_bytes(), algorithm) == verity
    with ErofsImage.from_bytes(image) as read:
        assert b"".join(encode_erofs(read.root(), 1)) == image
        assert read.objects() <= objects
