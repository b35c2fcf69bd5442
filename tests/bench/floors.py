"""What the machine needs for the least that any tool must do with an image."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bootd.registry.settings import RegistrySettings
from bootd.store.tar.decompress import unpack


def floor_seconds(layout: Path, tag: str, folder: Path) -> tuple[float, float]:
    """Seconds to inflate and hash an image's layers on all cores, and to write and sync as much."""
    layers = layers_of(layout, tag)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        start = time.monotonic()
        sizes = list(pool.map(partial(_inflate, layout), layers))
        inflated = time.monotonic() - start
    target = folder / "floor"
    start = time.monotonic()
    command = ["dd", "if=/dev/zero", f"of={target}", "bs=1M", f"count={sum(sizes) >> 20}"]
    subprocess.run([*command, "conv=fsync", "status=none"], check=True)
    written = time.monotonic() - start
    target.unlink()
    return inflated, written


def layers_of(layout: Path, tag: str) -> list[dict[str, Any]]:
    """The layers' descriptors of a tag, the biggest first."""
    index = json.loads((layout / "index.json").read_text())
    [found] = [
        one
        for one in index["manifests"]
        if one["annotations"]["org.opencontainers.image.ref.name"] == tag
    ]
    document = json.loads(_blob(layout, found["digest"]).read_text())
    if "manifests" in document:
        [own] = [
            one
            for one in document["manifests"]
            if one["platform"]["architecture"] == RegistrySettings().platform.architecture
        ]
        document = json.loads(_blob(layout, own["digest"]).read_text())
    layers: list[dict[str, Any]] = document["layers"]
    return sorted(layers, key=lambda layer: -layer["size"])


def _inflate(layout: Path, layer: dict[str, Any]) -> int:
    packed, unpacked, size = hashlib.sha256(), hashlib.sha256(), 0
    with _blob(layout, layer["digest"]).open("rb", buffering=0) as stream:

        def chunks() -> Any:
            while chunk := stream.read(128 << 10):
                packed.update(chunk)
                yield chunk

        for piece in unpack(chunks(), layer["mediaType"]):
            unpacked.update(piece)
            size += len(piece)
    return size


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")
