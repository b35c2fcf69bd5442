"""What staging costs, as counts that a busy machine does not change: a guard against regressions.

A first and a second version come from docker-registry into an empty sysroot, each in the daemon's
own job process, whose calls strace counts. Seconds are for ``make bench``.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.images import BuiltImage, build_oci_layout, digest, tar_layer
from support.machine import image_files
from support.registry import DockerRegistry, docker_registry
from support.watched_job import watched_stage

__all__ = ["docker_registry"]

FILES = 150
"""In each of the layers; enough that one call for each of them shows."""
LAYERS = 4
CHANGED = FILES // 10
IMAGE_OBJECTS = 4
"""Files of the lowest layer that are too large to be kept in the image's tree."""
RECORDS = 24
"""Renames and syncs of the store's format, what is imported, image, deployment and intent, and of
what is collected, of the file by which ``$BOOT`` is tried, and of the notes about what is on it: a
fixed number, however large the image is. This is what bootd takes today."""
FEW = 10
DOCUMENT_LIMIT = 2_000
"""More than the bytes of the configuration."""
WATCHED = (
    *("fsync", "fdatasync", "syncfs"),
    *("rename", "renameat2", "linkat", "unlink", "unlinkat", "openat"),
)
_REQUEST = re.compile(r'"(GET|HEAD) (/v2/\S*) HTTP/1\.1" (\d+) (\d+) ')
_CALL = re.compile(r"^\S+ (\w+)\((.*)\) += (\d+)")


@dataclass(frozen=True)
class Work:
    """What one stage did.

    Attributes:
        requests: method, path and status of each, and the bytes of its answer.
        calls: each system call on something in the sysroot: its name and arguments.
        stored: how many contents came into the store.
        packed: the compressed bytes of the layers that are new in this version.
    """

    requests: list[tuple[str, str, int, int]]
    calls: list[tuple[str, str]]
    stored: int
    packed: int

    def count(self, *names: str) -> int:
        return sum(name in names for name, _ in self.calls)

    def opened(self, pattern: str, *, written: bool = True) -> Counter[str]:
        """How often each path that matches was opened, be it under a temporary name.

        `written`: whether those count that were opened to be written.
        """
        paths = [
            re.sub(r"[.]new-[0-9]+-", "", found[1])
            for name, arguments in self.calls
            if name == "openat"
            and "O_PATH" not in arguments
            and (written or "O_RDONLY" in arguments)
            and (found := re.search(r'"([^"]*)"', arguments))
        ]
        return Counter(path for path in paths if re.search(pattern, path))


@pytest.fixture(scope="module")
def stages(
    tmp_path_factory: pytest.TempPathFactory, docker_registry: DockerRegistry
) -> tuple[Work, Work]:
    """A first pull, and the upgrade that follows it."""
    folder = tmp_path_factory.mktemp("counted")
    sysroot = folder / "sysroot"
    (sysroot / "boot").mkdir(parents=True)
    docker_registry.configure(sysroot)
    old, new = (publish(folder, docker_registry, version) for version in (1, 2))
    first = staged(sysroot, docker_registry, 1, sum(layer["size"] for layer in old.layers))
    known = {layer["digest"] for layer in old.layers}
    changed = sum(layer["size"] for layer in new.layers if layer["digest"] not in known)
    return first, staged(sysroot, docker_registry, 2, changed)


def publish(folder: Path, registry: DockerRegistry, version: int) -> BuiltImage:
    """Push a version; only its last layer is another one, and of that a tenth of the files."""
    layers = [tar_layer(image_files("any"))]
    for layer in range(LAYERS):
        files: dict[str, bytes | str | None] = {"usr/": None, "usr/share/": None}
        for number in range(FILES):
            mark = version if layer == LAYERS - 1 and number % 10 == 0 else 1
            seed = f"{layer} {number} {mark} "
            files[f"usr/share/{layer}-{number}"] = "".join(
                digest(f"{seed}{line}".encode()) for line in range(40)
            ).encode()
        layers.append(tar_layer(files))
    image = build_oci_layout(folder / f"v{version}", layers, labels={"version": str(version)})
    registry.push(folder / f"v{version}", "counted/image", tag=str(version))
    return image


def staged(sysroot: Path, registry: DockerRegistry, version: int, packed: int) -> Work:
    """Stage a version under strace."""
    asked, had = len(registry.requests()), objects(sysroot)
    said, traces = watched_stage(
        sysroot,
        f"{registry.host}/counted/image:{version}",
        sysroot.parent / f"traces-{version}",
        f"trace={','.join(WATCHED)}",
    )
    assert said["event"] == "result", said
    calls = [
        (found[1], found[2])
        for trace in traces
        for line in trace.read_text().splitlines()
        if (found := _CALL.search(line)) and str(sysroot) in found[2]
    ]
    requests = [
        (found[1], found[2], int(found[3]), int(found[4]))
        for found in map(_REQUEST.search, registry.requests()[asked:])
        if found
    ]
    return Work(requests, calls, len(objects(sysroot) - had), packed)


def objects(sysroot: Path) -> set[Path]:
    return {path for path in (sysroot / "bootd/objects").rglob("*") if path.is_file()}


def test_each_thing_is_asked_for_once(stages: tuple[Work, Work]) -> None:
    first, second = stages
    for work, layers in ((first, LAYERS + 1), (second, 1)):
        paths = [path for _, path, _, _ in work.requests]
        assert {(method, status) for method, _, status, _ in work.requests} == {("GET", 200)}
        assert len(set(paths)) == len(paths)
        assert sum("/manifests/" in path for path in paths) == 1
        assert len(paths) == 1 + 1 + layers  # manifest, configuration, layers


def test_no_byte_comes_twice(stages: tuple[Work, Work]) -> None:
    for work in stages:
        blobs = [size for _, path, _, size in work.requests if "/blobs/" in path]
        assert 0 <= sum(blobs) - work.packed < DOCUMENT_LIMIT


def test_a_file_is_written_once_and_only_if_it_is_new(stages: tuple[Work, Work]) -> None:
    first, second = stages
    assert first.stored == LAYERS * FILES + IMAGE_OBJECTS
    assert second.stored == CHANGED
    for work in stages:
        assert work.count("rename", "renameat2", "linkat") <= work.stored + RECORDS
        # Nothing that is known is read: only the kernel, some settings, and what is new.
        assert sum(work.opened(r"/objects/../").values()) <= work.stored + FEW


def test_syncs_go_with_layers_and_records_and_not_with_files(stages: tuple[Work, Work]) -> None:
    first, second = stages
    for work, layers in ((first, LAYERS + 1), (second, 1)):
        assert work.count("syncfs") <= layers + 2  # the image, the deployment
        assert work.count("fsync", "fdatasync") <= layers + RECORDS


def test_an_index_is_read_to_compose_and_to_collect(stages: tuple[Work, Work]) -> None:
    indexes = r"/layers/sha256:[0-9a-f]{64}$"
    once, again = (work.opened(indexes, written=False) for work in stages)
    assert set(once.values()) == {1}
    assert max(again.values()) <= 2
    assert len(again) == LAYERS + 1  # the one that went is not read


def test_collecting_removes_what_went_and_looks_into_each_folder_once(
    stages: tuple[Work, Work],
) -> None:
    _, second = stages
    assert second.count("unlink", "unlinkat") <= CHANGED + FEW * 2
    assert max(second.opened(r"/objects/..$").values()) <= 2
