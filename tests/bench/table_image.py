"""A third of the Debian of `big_image` as zstd:chunked: an image, a nightly build, and a rebuild.

skopeo takes long to write such layers, and shares of an image are not more exact of a larger one.

Repositories: ``tables/v1``; ``tables/changed``, with other contents in one of a hundred files of
each layer; ``tables/rebuilt``, with the contents of ``v1`` and other times, so that no layer has
its old digest. They are written by Debian 13's skopeo, with tar-split data, and by this machine's
in ``old-tables/``: on Debian 12 it writes none.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from support.cache import cached_folder, digest_of
from support.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest, encode
from support.newer_skopeo import newer_skopeo
from support.registry import run_docker_registry

from bench.big_image import big_image
from bench.sizes import size
from bootd.process import run

KINDS = ("v1", "changed", "rebuilt")
WRITERS = ("", "old-")
SHARE = 100
"""One of so many files changes."""
_DAY = 86_400
_TIMEOUT = 3_600.0
_REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class TableImages:
    """The images in one docker-registry's storage, and what is known of how they were made.

    Attributes:
        storage: of the registry; it is only read.
        changed_bytes: unpacked bytes of the files that ``changed`` has and ``v1`` has not.
        changed_names: their names.
    """

    storage: Path
    changed_bytes: int
    changed_names: frozenset[str]


def table_images() -> TableImages:
    """The images, built on first use (some twenty minutes) and then kept in the cache."""
    source = big_image()
    support = Path(__file__).parents[1] / "support"
    inputs = [Path(__file__), support / "newer_skopeo.py", source / "index.json"]
    folder = cached_folder("bench-tables", digest_of(*inputs), lambda work: _build(source, work))
    facts = json.loads((folder / "facts.json").read_text())
    return TableImages(
        folder / "storage", facts["changed_bytes"], frozenset(facts["changed_names"])
    )


def _build(source: Path, folder: Path) -> None:
    changed: dict[str, int] = {}
    with run_docker_registry(folder) as registry:
        for kind in KINDS:
            plain = folder / "plain"
            _write_plain(source, plain, kind, changed)
            for prefix, program in zip(WRITERS, (newer_skopeo(), "skopeo"), strict=True):
                # A repository of its own: skopeo would take over blobs it knows, tables or not.
                target = f"docker://{registry.host}/{prefix}tables/{kind}:latest"
                options = ["--quiet", "--dest-compress-format=zstd:chunked"]
                options.append("--dest-tls-verify=false")
                run([program, "copy", *options, f"oci:{plain}:latest", target], timeout=_TIMEOUT)
            shutil.rmtree(plain)
    facts = {"changed_bytes": sum(changed.values()), "changed_names": sorted(changed)}
    (folder / "facts.json").write_text(json.dumps(facts))


def _write_plain(source: Path, target: Path, kind: str, changed: dict[str, int]) -> None:
    """Write the layers of ``v1`` as plain tar streams, changed as `kind` says, as an OCI layout."""
    manifest = _tagged(source, "v1")
    config = json.loads(_blob(source, manifest["config"]["digest"]).read_bytes())
    blobs = target / "blobs/sha256"
    blobs.mkdir(parents=True)
    layers = []
    for number, layer in enumerate(manifest["layers"][: size().table_layers]):
        edit = _edits(number, changed)[kind]
        with gzip.open(_blob(source, layer["digest"])) as stream, _new_blob(blobs) as made:
            _rewrite(stream, made, edit)
        layers.append({"mediaType": OCI_LAYER, "digest": made.digest, "size": made.size})
    config["rootfs"]["diff_ids"] = [layer["digest"] for layer in layers]
    config.pop("history", None)
    config_bytes = encode(config)
    document = encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": OCI_CONFIG,
                "digest": digest(config_bytes),
                "size": len(config_bytes),
            },
            "layers": layers,
            "annotations": {"org.opencontainers.image.version": kind},
        }
    )
    for data in (config_bytes, document):
        (blobs / digest(data).removeprefix("sha256:")).write_bytes(data)
    top = {"mediaType": OCI_MANIFEST, "digest": digest(document), "size": len(document)}
    top["annotations"] = {_REF_NAME: "latest"}
    (target / "index.json").write_bytes(encode({"schemaVersion": 2, "manifests": [top]}))
    (target / "oci-layout").write_bytes(encode({"imageLayoutVersion": "1.0.0"}))


Edit = Callable[[tarfile.TarInfo, bytes], bytes]


def _edits(layer: int, changed: dict[str, int]) -> dict[str, Edit]:
    def change(member: tarfile.TarInfo, content: bytes) -> bytes:
        if content and zlib.crc32(f"{layer} {member.name}".encode(errors="replace")) % SHARE == 0:
            changed[member.name] = len(content)
            # As large, and about as well compressed.
            return content[::-1]
        return content

    def rebuild(member: tarfile.TarInfo, content: bytes) -> bytes:
        member.mtime += _DAY
        member.pax_headers.pop("mtime", None)
        return content

    return {"v1": lambda _, content: content, "changed": change, "rebuilt": rebuild}


def _rewrite(source: BinaryIO, target: _Blob, edit: Edit) -> None:
    with (
        tarfile.open(fileobj=source, mode="r|", errors="surrogateescape") as old,
        tarfile.open(
            fileobj=target, mode="w|", format=tarfile.PAX_FORMAT, errors="surrogateescape"
        ) as new,
    ):
        for member in old:
            stream = old.extractfile(member) if member.isreg() else None
            content = edit(member, stream.read() if stream is not None else b"")
            new.addfile(member, BytesIO(content) if member.isreg() else None)
            old.members = []  # type: ignore[attr-defined]


class _Blob:
    """A blob that is written: a tar stream without the padding that Debian 12's skopeo loses."""

    def __init__(self, stream: BinaryIO) -> None:
        self.size = 0
        self.digest = ""
        self._stream = stream
        self._hash = hashlib.sha256()
        self._zeros = 0

    def write(self, data: bytes) -> int:
        content = data.rstrip(b"\0")
        if content:
            self._put(bytes(self._zeros) + content)
            self._zeros = 0
        self._zeros += len(data) - len(content)
        return len(data)

    def finish(self) -> None:
        self._put(bytes(-self.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE))
        self.digest = f"sha256:{self._hash.hexdigest()}"

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self._stream.write(data)
        self.size += len(data)


@contextmanager
def _new_blob(folder: Path) -> Iterator[_Blob]:
    path = folder / "new"
    with path.open("wb") as stream:
        blob = _Blob(stream)
        yield blob
        blob.finish()
    path.rename(folder / blob.digest.removeprefix("sha256:"))


def _tagged(layout: Path, tag: str) -> dict[str, Any]:
    index = json.loads((layout / "index.json").read_bytes())
    found = next(one for one in index["manifests"] if one["annotations"][_REF_NAME] == tag)
    return dict(json.loads(_blob(layout, found["digest"]).read_bytes()))


def _blob(layout: Path, name: str) -> Path:
    return layout / "blobs" / name.replace(":", "/")
