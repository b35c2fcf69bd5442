"""Small OCI images built from Python, byte for byte the same each time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
CREATED = "2026-01-01T00:00:00Z"
MTIME = 1_767_225_600

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "i686": "386"}


def host_architecture() -> str:
    """This machine's architecture as images name it."""
    return _ARCHITECTURES[os.uname().machine]


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


@dataclass(frozen=True)
class BuiltImage:
    """A manifest and everything below it.

    `manifest` is the manifest's (or index's) bytes; `blobs` holds config, layers and, for an index,
    the manifests too, by digest.
    """

    manifest: bytes
    media_type: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    diff_ids: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    @property
    def layers(self) -> list[dict[str, Any]]:
        return list(json.loads(self.manifest)["layers"])

    @property
    def config(self) -> dict[str, Any]:
        return dict(json.loads(self.blobs[json.loads(self.manifest)["config"]["digest"]]))


@dataclass(frozen=True)
class PackedLayer:
    """A layer that is packed already.

    Attributes:
        tar: what it unpacks to.
        blob: as a registry has it.
        compression: how it is packed, as for `build_image`.
        annotations: of its descriptor.
    """

    tar: bytes
    blob: bytes
    compression: str
    annotations: Mapping[str, str] = field(default_factory=dict)


def entry(
    name: str,
    kind: bytes = tarfile.REGTYPE,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: float = MTIME,
    target: str = "",
    size: int = 0,
    xattrs: Mapping[str, str] | None = None,
) -> tarfile.TarInfo:
    """One tar header; `target` is a link's."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = kind, mode, uid, gid
    info.mtime, info.linkname, info.size = mtime, target, size
    info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in (xattrs or {}).items()}
    return info


def tar_layer(
    files: Mapping[str, bytes | str | None] | Sequence[tuple[tarfile.TarInfo, bytes]],
) -> bytes:
    """A tar stream.

    From a mapping: bytes make a file, text a symlink with that target, None a folder. From a
    sequence: headers made with `entry`, each with its content.
    """
    pairs = [_pair(*item) for item in files.items()] if isinstance(files, Mapping) else files
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in pairs:
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _pair(name: str, value: bytes | str | None) -> tuple[tarfile.TarInfo, bytes]:
    match value:
        case None:
            return entry(name, tarfile.DIRTYPE, mode=0o755), b""
        case str():
            return entry(name, tarfile.SYMTYPE, mode=0o777, target=value), b""
        case _:
            return entry(name), value


def compress(data: bytes, compression: str) -> bytes:
    """Compress with ``gzip`` or ``zstd``; ``none`` leaves as it is."""
    if compression == "gzip":
        return gzip.compress(data, compresslevel=6, mtime=0)
    if compression == "zstd":
        return zstandard.compress(data)
    return data


def build_image(
    layers: Sequence[bytes | PackedLayer],
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    architecture: str | None = None,
    os_name: str = "linux",
    variant: str | None = None,
    compression: str | Sequence[str] = "gzip",
    docker: bool = False,
) -> BuiltImage:
    """An image of some tar streams; `compression` is for all of them or one a layer."""
    ways = [compression] * len(layers) if isinstance(compression, str) else list(compression)
    packed = [
        one if isinstance(one, PackedLayer) else PackedLayer(one, compress(one, way), way)
        for one, way in zip(layers, ways, strict=True)
    ]
    diff_ids = tuple(digest(one.tar) for one in packed)
    config = encode(
        {
            "created": CREATED,
            "architecture": architecture or host_architecture(),
            "os": os_name,
            **({"variant": variant} if variant else {}),
            "config": {"Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": _descriptor(DOCKER_CONFIG if docker else OCI_CONFIG, config),
        "layers": [
            {
                **_descriptor(_layer_type(one.compression, docker=docker), one.blob),
                **({"annotations": dict(one.annotations)} if one.annotations else {}),
            }
            for one in packed
        ],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    blobs = {digest(data): data for data in (config, *(one.blob for one in packed))}
    return BuiltImage(encode(manifest), str(manifest["mediaType"]), blobs, diff_ids)


def build_index(
    images: Sequence[tuple[BuiltImage, Mapping[str, str] | None]], *, docker: bool = False
) -> BuiltImage:
    """An index of images, each with its ``platform`` object or None."""
    media_type = DOCKER_INDEX if docker else OCI_INDEX
    blobs: dict[str, bytes] = {}
    entries = []
    for image, platform in images:
        found = _descriptor(image.media_type, image.manifest)
        entries.append({**found, "platform": dict(platform)} if platform else found)
        blobs.update(image.blobs)
        blobs[image.digest] = image.manifest
    index = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    return BuiltImage(encode(index), media_type, blobs)


def write_oci_layout(directory: Path, image: BuiltImage, tag: str | None = "latest") -> None:
    """Write an image (or index) as an OCI layout folder; a second one is added under its tag."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for name, data in {**image.blobs, image.digest: image.manifest}.items():
        (blobs / name.removeprefix("sha256:")).write_bytes(data)
    (directory / "oci-layout").write_bytes(encode({"imageLayoutVersion": "1.0.0"}))
    found = _descriptor(image.media_type, image.manifest)
    if tag is not None:
        found["annotations"] = {"org.opencontainers.image.ref.name": tag}
    path = directory / "index.json"
    index: dict[str, Any] = (
        json.loads(path.read_bytes()) if path.exists() else {"schemaVersion": 2, "manifests": []}
    )
    kept = [one for one in index["manifests"] if one.get("annotations") != found.get("annotations")]
    index["manifests"] = [*kept, found]
    path.write_bytes(encode(index))


def build_oci_layout(
    directory: Path,
    layers: Sequence[bytes | PackedLayer],
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    architecture: str | None = None,
    compression: str | Sequence[str] = "gzip",
    tag: str | None = "latest",
) -> BuiltImage:
    """Build an image and write it as an OCI layout folder."""
    image = build_image(
        layers,
        labels=labels,
        annotations=annotations,
        architecture=architecture,
        compression=compression,
    )
    write_oci_layout(directory, image, tag)
    return image


def write_oci_archive(path: Path, folder: Path) -> None:
    """Pack an OCI layout folder as ``oci-archive:`` takes it."""
    with tarfile.open(path, "w") as archive:
        archive.add(folder, arcname=".")


def _layer_type(compression: str, *, docker: bool) -> str:
    if compression == "none":
        return DOCKER_LAYER if docker else OCI_LAYER
    return f"{DOCKER_LAYER}.{compression}" if docker else f"{OCI_LAYER}+{compression}"


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}
