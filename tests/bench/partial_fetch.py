"""``python -m bench.partial_fetch``: what an upgrade costs whose layers have tables.

Each round puts ``v1`` onto an empty disk, then the rebuild, then the version with one of a hundred
files changed, with a restart after each. Bytes are those that docker-registry notes in its access
log.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import sys
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support.registry import DockerRegistry, run_docker_registry

from bench.bootd_tool import Bootd
from bench.measure import Measurement
from bench.report import Promise, Results, machine_facts
from bench.sizes import rounds
from bench.table_image import WRITERS, TableImages, table_images
from bench.work_folder import work_folder
from bootd.model.registry.image import Compression
from bootd.store.tar.decompress import frames

FIRST, REBUILT, CHANGED = (
    "Layers with tables: v1 onto an empty disk",
    "Layers with tables: the same content rebuilt",
    "Layers with tables: 1 % changed",
)
TABLES = "layers with tables"
NAMES = {"": "verified", "old-": "trusted tables"}
_BLOB = re.compile(r'"GET /v2/[^ ]+/blobs/[^ ]+ HTTP/1\.1" 20[06] ([0-9]+) ')
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_POSITIONS = ("manifest-position", "tarsplit-position")


class PartialBootd(Bootd):
    """bootd with images that have tables, one kind after the other."""

    def __init__(self, folder: Path, registry: DockerRegistry, prefix: str) -> None:
        super().__init__(folder, registry)
        self._prefix = prefix
        settings = self.sysroot / "etc/bootd/bootd.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(f"trust_layer_tables = {str(bool(prefix)).lower()}\n")

    def stage_kind(self, kind: str) -> tuple[Measurement, int, int]:
        """Stage a kind and restart into it.

        Returns:
            What staging took, the bytes of blobs served, and those of new files.
        """
        self.prepare()
        before, log = files_on_disk(self.sysroot / "bootd"), len(self.registry.requests())
        reference = f"{self.registry.host}/{self._prefix}tables/{kind}:latest"
        measurement = self.stage(reference)
        served = sum(
            int(one[1]) for one in map(_BLOB.search, self.registry.requests()[log:]) if one
        )
        after = files_on_disk(self.sysroot / "bootd")
        self.restart()
        # What an older version had alone may be gone by now, and does not count against this one.
        return measurement, served, sum(after[file] for file in after.keys() - before.keys())


def main() -> int:
    """Run it; the exit status says whether all targets were met."""
    results = Results(machine_facts())
    with results.part(TABLES):
        run_partial_fetch(results)
    results.targets = [promise.judge(results) for promise in PROMISES]
    results.write(
        Path(__file__).parents[2] / "bench-results",
        datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ-partial-fetch"),
    )
    sys.stdout.write(f"{results.table()}\n{results.verdict()}\n")
    return 1 if results.missed else 0


def run_partial_fetch(results: Results) -> None:
    """Add all runs and figures to the results."""
    images = table_images()
    figures: dict[str, dict[str, list[int]]] = {}
    with work_folder() as folder:
        (folder / "storage").symlink_to(images.storage)
        with run_docker_registry(folder) as registry:
            for number in range(rounds()):
                for prefix in WRITERS:
                    _round(number, folder, registry, prefix, results=results, figures=figures)
            for prefix in WRITERS:
                _note(registry, images, prefix, results, figures[prefix])


def _round(
    number: int,
    folder: Path,
    registry: DockerRegistry,
    prefix: str,
    *,
    results: Results,
    figures: dict[str, dict[str, list[int]]],
) -> None:
    own = folder / f"{number}-{prefix}"
    own.mkdir()
    tool = PartialBootd(own, registry, prefix)
    found = figures.setdefault(prefix, {})
    for what, kind in ((FIRST, "v1"), (REBUILT, "rebuilt"), (CHANGED, "changed")):
        measurement, served, grown = tool.stage_kind(kind)
        sys.stdout.write(
            f"==> round {number + 1}: {NAMES[prefix]}, {what}: {measurement.seconds:.1f} s, "
            f"{measurement.cpu_seconds:.1f} s of CPU, {served:,} served, new files {grown:,}\n"
        )
        sys.stdout.flush()
        results.add(what, NAMES[prefix], measurement)
        found[what] = [served, grown]
    found["erofs"] = [max(path.stat().st_size for path in tool.sysroot.rglob("root.erofs"))]
    shutil.rmtree(own)


def _note(
    registry: DockerRegistry,
    images: TableImages,
    prefix: str,
    results: Results,
    figures: dict[str, list[int]],
) -> None:
    name = NAMES[prefix]
    whole, tables, changed = _sizes(registry, f"{prefix}tables/changed", images.changed_names)
    (served, grown), (rebuilt, _), (erofs,) = (
        figures[what] for what in (CHANGED, REBUILT, "erofs")
    )
    results.facts[name] = (
        f"image {whole:,} bytes, tables {tables:,}, changed files {changed:,} compressed and "
        f"{images.changed_bytes:,} unpacked, EROFS {erofs:,}; {CHANGED}: {served:,} served, "
        f"new files {grown:,}; rebuilt: {rebuilt:,} served"
    )
    shares = {
        "wire": served / (1.3 * changed + tables),
        "rebuilt": rebuilt / whole,
        "disk": grown / (1.05 * images.changed_bytes + erofs),
    }
    results.note(TABLES, **{f"{name}: {what}": share for what, share in shares.items()})


def _promises(name: str) -> tuple[Promise, ...]:
    return (
        Promise(f"{name}: wire for 1 % changed", 1, "x what is allowed",
                lambda found: found.figure(TABLES, f"{name}: wire")),
        Promise(f"{name}: time for 1 % changed", 0.2, "x the first pull",
                lambda found: _median(found, CHANGED, name) / _median(found, FIRST, name)),
        Promise(f"{name}: wire for a rebuild", 0.03, "x the image",
                lambda found: found.figure(TABLES, f"{name}: rebuilt")),
        Promise(f"{name}: disk for 1 % changed", 1, "x what is allowed",
                lambda found: found.figure(TABLES, f"{name}: disk")),
    )  # fmt: skip


def _median(results: Results, what: str, name: str) -> float:
    results.figure(TABLES, f"{name}: wire")  # it says why there are no runs
    return results.median(what, name)


PROMISES = tuple(promise for name in NAMES.values() for promise in _promises(name))


def _sizes(
    registry: DockerRegistry, repository: str, changed: frozenset[str]
) -> tuple[int, int, int]:
    """The bytes of an image's layers, of its tables, and of some of its files compressed."""
    base = f"http://{registry.host}/v2/{repository}"
    manifest = json.loads(_get(f"{base}/manifests/latest", {"Accept": _MANIFEST_TYPE}))
    whole = tables = compressed = 0
    for layer in manifest["layers"]:
        whole += layer["size"]
        for key, value in layer["annotations"].items():
            start, length, *_ = (value + ":").split(":")
            if not key.endswith(_POSITIONS):
                continue
            tables += int(length)
            if key.endswith(_POSITIONS[0]):
                wanted = f"bytes={start}-{int(start) + int(length) - 1}"
                data = _get(f"{base}/blobs/{layer['digest']}", {"Range": wanted})
                compressed += sum(
                    entry["endOffset"] - entry["offset"]
                    for entry in _entries(data)
                    if entry["name"] in changed and entry.get("endOffset")
                )
    return whole, tables, compressed


def _entries(table: bytes) -> list[dict[str, Any]]:
    return list(json.loads(b"".join(frames([table], Compression.ZSTD)))["entries"])


def _get(url: str, headers: dict[str, str]) -> bytes:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return bytes(response.read())


def files_on_disk(folder: Path) -> dict[tuple[int, int], int]:
    """The bytes that each file takes on the disk; one with several names counts once.

    A number alone may be a new file's that an old one had.
    """
    paths = folder.rglob("*") if folder.exists() else ()
    files = [found for found in (path.lstat() for path in paths) if stat.S_ISREG(found.st_mode)]
    return {(found.st_ino, found.st_mtime_ns): found.st_blocks * 512 for found in files}


if __name__ == "__main__":
    sys.exit(main())
