"""Images from OCI layouts: folders and tar files."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from support.images import (
    BuiltImage,
    build_image,
    build_index,
    build_oci_layout,
    encode,
    host_architecture,
    tar_layer,
    write_oci_archive,
    write_oci_layout,
)

from bootd.durable import Disk
from bootd.model.errors import (
    BootdError,
    ContentError,
    DigestMismatchError,
    ImageNotFoundError,
    InvalidManifestError,
    ManifestTooLargeError,
    NoMatchingPlatformError,
    SizeMismatchError,
)
from bootd.model.registry.image import Descriptor
from bootd.registry.settings import RegistrySettings
from bootd.registry.sources.source import ImageSource, open_source

LAYERS = [tar_layer({"a": b"b" * 2_000_000}), tar_layer({"c": b"d"})]


def source(reference: str) -> ImageSource:
    return open_source(reference, RegistrySettings(), Path("/nonexistent"), Disk())


@pytest.fixture(params=["folder", "archive"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def reference(tmp_path: Path, kind: str, tag: str = "") -> str:
    suffix = f":{tag}" if tag else ""
    if kind == "folder":
        return f"oci:{tmp_path}/layout{suffix}"
    write_oci_archive(tmp_path / "image.tar", tmp_path / "layout")
    return f"oci-archive:{tmp_path}/image.tar{suffix}"


def blob_path(tmp_path: Path, digest: str) -> Path:
    return tmp_path / "layout/blobs/sha256" / digest.removeprefix("sha256:")


def fails(
    tmp_path: Path, kind: str, error: type[BootdError], match: str | None = None, tag: str = ""
) -> None:
    name = reference(tmp_path, kind, tag)
    with pytest.raises(error, match=match) as caught:
        source(name).resolve()
    assert caught.value.hint


def test_image_and_layers(tmp_path: Path, kind: str) -> None:
    built = build_oci_layout(tmp_path / "layout", LAYERS, compression=["none", "zstd"], tag="v1")
    for tag in ("", "v1"):
        opened = source(reference(tmp_path, kind, tag))
        image = opened.resolve()
        assert image.digest == built.digest
        digest, check = opened.poll(None)
        assert (digest, check.top) == (built.digest, built.digest)
        for layer, _ in image.layers:
            with opened.blob(layer) as stream:
                assert b"".join(stream) == built.blobs[layer.digest]
        opened.close()


def test_index_by_tag(tmp_path: Path, kind: str) -> None:
    here, other = build_image(LAYERS[:1]), build_image(LAYERS[1:], architecture="mips")
    index = build_index(
        [
            (other, {"os": "linux", "architecture": "mips"}),
            (here, {"os": "linux", "architecture": host_architecture()}),
        ]
    )
    write_oci_layout(tmp_path / "layout", index, "multi")
    write_oci_layout(tmp_path / "layout", other, "other")
    name = reference(tmp_path, kind, "multi")
    assert source(name).resolve().digest == here.digest
    assert source(name).poll(None)[0] == here.digest
    by_digest = name.removesuffix(":multi") + f"@{index.digest}"
    assert source(by_digest).resolve().digest == here.digest
    fails(tmp_path, kind, NoMatchingPlatformError, "linux/mips", tag="other")


def test_tag_that_is_not_there(tmp_path: Path, kind: str) -> None:
    write_oci_layout(tmp_path / "layout", build_image(LAYERS[:1]), "v1")
    write_oci_layout(tmp_path / "layout", build_image(LAYERS[1:]), "v2")
    fails(tmp_path, kind, ImageNotFoundError, "v1, v2", tag="v3")
    fails(tmp_path, kind, ImageNotFoundError, "names 2 images")


def test_nothing_there(tmp_path: Path, kind: str) -> None:
    where = {"folder": "oci:{}/none", "archive": "oci-archive:{}/none.tar"}[kind]
    with pytest.raises(ImageNotFoundError):
        source(where.format(tmp_path)).resolve()


def built_layout(tmp_path: Path) -> BuiltImage:
    return build_oci_layout(tmp_path / "layout", LAYERS)


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("oci-layout", None, ImageNotFoundError),
        ("oci-layout", b"", InvalidManifestError),
        ("oci-layout", b"[]", InvalidManifestError),
        ("oci-layout", b'{"imageLayoutVersion":"2.0.0"}', InvalidManifestError),
        ("oci-layout", b" " * 10_000, ManifestTooLargeError),
        ("index.json", None, ImageNotFoundError),
        ("index.json", b"{", InvalidManifestError),
        ("index.json", b" " * (5 << 20), ManifestTooLargeError),
        ("index.json", encode({"manifests": []}), ImageNotFoundError),
        ("index.json", encode({"layers": [], "config": {}}), InvalidManifestError),
    ],
)
def test_damaged_layouts(
    name: str, data: bytes | None, error: type[BootdError], tmp_path: Path, kind: str
) -> None:
    built_layout(tmp_path)
    if data is None:
        (tmp_path / "layout" / name).unlink()
    else:
        (tmp_path / "layout" / name).write_bytes(data)
    fails(tmp_path, kind, error)


@pytest.mark.parametrize("which", ["manifest", "config"])
@pytest.mark.parametrize("damage", ["missing", "shorter", "longer", "other"])
def test_damaged_documents(which: str, damage: str, tmp_path: Path, kind: str) -> None:
    built = built_layout(tmp_path)
    config = json.loads(built.manifest)["config"]["digest"]
    path = blob_path(tmp_path, built.digest if which == "manifest" else config)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
        fails(tmp_path, kind, ImageNotFoundError)
        return
    path.write_bytes({"shorter": data[:-1], "longer": data + b" ", "other": data[::-1]}[damage])
    fails(tmp_path, kind, ContentError, "digest|bytes|got")


def test_manifest_beyond_the_bound(tmp_path: Path, kind: str) -> None:
    built = built_layout(tmp_path)
    index = json.loads((tmp_path / "layout/index.json").read_bytes())
    index["manifests"][0]["size"] = 5 << 20
    (tmp_path / "layout/index.json").write_bytes(encode(index))
    assert built.digest
    fails(tmp_path, kind, ManifestTooLargeError)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda data: data[:-1], SizeMismatchError),
        (lambda data: data + b"x", SizeMismatchError),
        (lambda data: b"x" + data[1:], DigestMismatchError),
    ],
)
def test_damaged_blobs(damage, error: type[BootdError], tmp_path: Path, kind: str) -> None:
    built = built_layout(tmp_path)
    layer = Descriptor.model_validate(built.layers[0])
    path = blob_path(tmp_path, layer.digest)
    path.write_bytes(damage(path.read_bytes()))
    opened = source(reference(tmp_path, kind))
    with opened.blob(layer) as stream, pytest.raises(error):
        b"".join(stream)


def test_missing_blob(tmp_path: Path, kind: str) -> None:
    built = built_layout(tmp_path)
    layer = Descriptor.model_validate(built.layers[0])
    blob_path(tmp_path, layer.digest).unlink()
    opened = source(reference(tmp_path, kind))
    with opened.blob(layer) as stream, pytest.raises(ImageNotFoundError, match=layer.digest.hex):
        b"".join(stream)


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    built_layout(tmp_path)
    (tmp_path / "layout/index.json").unlink()
    os.mkfifo(tmp_path / "layout/index.json")
    fails(tmp_path, "folder", ImageNotFoundError)


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_archives_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    built_layout(tmp_path)
    reference(tmp_path, "archive")
    whole = path.read_bytes()
    for data in (b"rubbish" * 200, b"\x1f\x8b" + bytes(600), whole[:2_000]):
        path.write_bytes(data)
        with pytest.raises((InvalidManifestError, ImageNotFoundError)):
            source(f"oci-archive:{path}").resolve()


def test_archive_with_a_vast_header(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    info.size = 1 << 30
    path.write_bytes(info.tobuf() + bytes(1_024))
    with pytest.raises(InvalidManifestError, match="header"):
        source(f"oci-archive:{path}").resolve()


def test_archive_with_too_many_members(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    archive_of(path, *((tarfile.TarInfo(f"f{number}"), b"") for number in range(10_001)))
    with pytest.raises(InvalidManifestError, match="members"):
        source(f"oci-archive:{path}").resolve()


def test_archive_members_are_read_in_place_and_links_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    link = tarfile.TarInfo("oci-layout")
    link.type = tarfile.SYMTYPE
    link.linkname = "/etc/passwd"
    archive_of(path, (link, b""))
    with pytest.raises(ImageNotFoundError, match="oci-layout"):
        source(f"oci-archive:{path}").resolve()
