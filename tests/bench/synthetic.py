"""Images of any size, any number of files and any number of layers, made while they are uploaded.

Contents are half text and half noise, so that they shrink about as much as a system's do, and no
two files are equal. Every night one layer is another: a twentieth of its files has new contents.
Nothing is kept on this side; a layer goes to the registry as it is made (OCI Distribution
Specification 1.1, "Pushing a blob in chunks").
"""

from __future__ import annotations

import hashlib
import os
import random
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

import requests
from support.images import (
    CREATED,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    digest,
    encode,
    entry,
    host_architecture,
    tar_layer,
)
from support.machine import image_files

_POOL_BYTES = 4 << 20
_PIECE = 1 << 20
_FOLDER = 50
_SHARE = 20
_SPREAD = (1, 2, 4, 8, 35)
"""Most files are small; a fifth of them holds most of the bytes."""
_TIMEOUT = 600.0


@dataclass(frozen=True)
class Shape:
    """What an image is like.

    Attributes:
        size: bytes of all files together.
        entries: how many files.
        layers: in so many layers, beside the lowest, which has a kernel and little else.
        night: 0 is the first version.
    """

    size: int
    entries: int
    layers: int
    night: int = 0


@dataclass(frozen=True)
class Layer:
    """A layer that was uploaded."""

    digest: str
    diff_id: str
    size: int


def upload_image(host: str, name: str, shape: Shape, known: dict[int, Layer] | None = None) -> str:
    """Upload an image and return its reference, with the night as the tag.

    Args:
        host: of a registry without credentials.
        name: of a repository there.
        shape: what the image is like.
        known: the layers of the night before; those of this one replace them.
    """
    layers = {} if known is None else known
    missing = [number for number in range(shape.layers) if number not in layers]
    changed = [(shape.night - 1) % shape.layers] if shape.night and known else []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        numbers = sorted({*missing, *changed})
        made = pool.map(partial(_upload_layer, host, name, shape), numbers)
        layers.update(zip(numbers, made, strict=True))
    base = _upload(host, name, iter([tar_layer(image_files(str(shape.night)))]))
    found = [base, *(layers[number] for number in range(shape.layers))]
    config = encode(
        {
            "created": CREATED,
            "architecture": host_architecture(),
            "os": "linux",
            "config": {"Labels": {"org.opencontainers.image.version": str(shape.night)}},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in found]},
        }
    )
    _put_blob(host, name, config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [
            {"mediaType": f"{OCI_LAYER}+gzip", "digest": layer.digest, "size": layer.size}
            for layer in found
        ],
    }
    where = f"http://{host}/v2/{name}/manifests/{shape.night}"
    headers = {"Content-Type": OCI_MANIFEST}
    requests.put(where, encode(manifest), headers=headers, timeout=_TIMEOUT).raise_for_status()
    return f"{host}/{name}:{shape.night}"


def _upload_layer(host: str, name: str, shape: Shape, number: int) -> Layer:
    return _upload(host, name, _tar(shape, number))


def _tar(shape: Shape, layer: int) -> Iterator[bytes]:
    """The tar stream of a layer."""
    files = range(layer, shape.entries, shape.layers)
    mean = shape.size / shape.entries * len(_SPREAD) / sum(_SPREAD)
    folder = f"usr/share/{layer}/"
    yield _header(entry(folder, tarfile.DIRTYPE, mode=0o755))
    for place, number in enumerate(files):
        if place % _FOLDER == 0:
            inner = f"{folder}{place // _FOLDER}/"
            yield _header(entry(inner, tarfile.DIRTYPE, mode=0o755))
        size = max(1, int(mean * _SPREAD[place % len(_SPREAD)]))
        path = f"{folder}{place // _FOLDER}/{number}"
        yield _header(entry(path, size=size))
        seed = f"{number} {_changed_last(shape, layer, place)}"
        yield from _content(seed, size)
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _changed_last(shape: Shape, layer: int, place: int) -> int:
    """The last night in which a file got new contents."""
    nights = range(layer + 1, shape.night + 1, shape.layers)
    for night in reversed(nights):
        if (place + night // shape.layers) % _SHARE == 0:
            return night
    return 0


def _content(seed: str, size: int) -> Iterator[bytes]:
    pool = _pool()
    own = hashlib.sha256(seed.encode()).digest()[:size]
    yield own
    start, left = int.from_bytes(own[:4], "big") % len(pool), size - len(own)
    while left > 0:
        piece = pool[start : start + left]
        yield piece
        start, left = 0, left - len(piece)


@cache
def _pool() -> bytes:
    source = random.Random(1)  # the same every time
    words = [source.randbytes(source.randrange(3, 12)).hex().encode() for _ in range(3_000)]
    pieces, size = [], 0
    while size < _POOL_BYTES:
        text = b" ".join(source.choices(words, k=20))
        pieces += [text, source.randbytes(len(text) // 2)]
        size += len(text) * 3 // 2
    return b"".join(pieces)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.USTAR_FORMAT)


def _upload(host: str, name: str, pieces: Iterator[bytes]) -> Layer:
    """Upload a tar stream as a gzip layer."""
    packed, plain = hashlib.sha256(), hashlib.sha256()
    size = 0

    def stream() -> Iterator[bytes]:
        # Only images that are uploaded need it.
        from isal import isal_zlib  # noqa: PLC0415

        packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
        for piece in _gathered(pieces):
            plain.update(piece)
            yield packer.compress(piece)
        yield packer.flush()

    def counted() -> Iterator[bytes]:
        nonlocal size
        for piece in filter(None, stream()):
            packed.update(piece)
            size += len(piece)
            yield piece

    place = _begin(host, name)
    answer = requests.patch(place, counted(), timeout=_TIMEOUT)
    answer.raise_for_status()
    name_of_blob = f"sha256:{packed.hexdigest()}"
    _end(answer.headers["Location"], name_of_blob)
    return Layer(name_of_blob, f"sha256:{plain.hexdigest()}", size)


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield b"".join(kept)
            kept, size = [], 0
    yield b"".join(kept)


def _put_blob(host: str, name: str, data: bytes) -> None:
    _end(_begin(host, name), digest(data), data)


def _begin(host: str, name: str) -> str:
    answer = requests.post(f"http://{host}/v2/{name}/blobs/uploads/", timeout=_TIMEOUT)
    answer.raise_for_status()
    return answer.headers["Location"]


def _end(place: str, name: str, data: bytes = b"") -> None:
    mark = "&" if "?" in place else "?"
    requests.put(f"{place}{mark}digest={name}", data, timeout=_TIMEOUT).raise_for_status()
