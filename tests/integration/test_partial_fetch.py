"""Layers with a table over the wire: bytes counted at the registry, faults made there, real tools.

Whatever goes wrong with parts, the layer arrives: whole.
"""

from __future__ import annotations

import logging
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.chunked import zstd_chunked
from support.images import (
    BuiltImage,
    PackedLayer,
    build_image,
    build_oci_layout,
    digest,
    tar_layer,
    write_oci_layout,
)
from support.newer_skopeo import newer_skopeo
from support.registry import (
    DockerRegistry,
    FaultyRegistry,
    docker_registry,
    faulty_registry,
)

from bootd.model.config import Configuration
from bootd.model.digest import Digest
from bootd.model.errors import DigestMismatchError
from bootd.operations.host import Host
from bootd.operations.image.resolve import resolve
from bootd.operations.progress import Silent
from bootd.operations.pull import Pulled, missing_layers, pull
from bootd.registry.settings import RegistrySettings
from bootd.store.images.image import compose_image
from bootd.store.known_contents import was_verified
from bootd.store.layers import has_layer, layer_path
from bootd.sysroot import Sysroot

__all__ = ["docker_registry"]

KIB = 1 << 10
FILES = 400
LAYERS = 3
BLOB = r"GET /v2/.*/blobs/"
"""Configurations are asked for by this, too; they are small."""


def layer_files(layer: int, version: int, publisher: str) -> dict[str, bytes | str | None]:
    """A layer's files, of contents that do not compress; version 2 changes one in a hundred."""
    rng = random.Random(layer)
    found: dict[str, bytes | str | None] = {"usr": None, f"usr/{layer}": None}
    found[f"usr/{layer}/publisher"] = publisher.encode()
    for number in range(FILES):
        size = rng.choice([0, 30, 500, 6_000, 20_000])
        content = rng.randbytes(size)
        if version != 1 and number % 100 == 50:
            content = random.Random(f"{layer} {number} {version}").randbytes(6_000)
        found[f"usr/{layer}/file-{number}"] = content
    return found


CHANGED = LAYERS * FILES // 100 * 6_000
"""Bytes of files that version 2 has and version 1 has not."""


@cache
def tars(version: int, publisher: str = "us") -> list[bytes]:
    """The tar streams of a version, ended as most tools do: with two blocks of zeros.

    Those of different publishers differ: skopeo uses a blob it knows of for all its names.
    """
    return [unpadded(tar_layer(layer_files(layer, version, publisher))) for layer in range(LAYERS)]


def unpadded(tar: bytes) -> bytes:
    content = tar.rstrip(b"\0")
    return content + bytes(-len(content) % 512 + 1_024)


@cache
def image(version: int, pack: Callable[[bytes], PackedLayer] = zstd_chunked) -> BuiltImage:
    return build_image([pack(tar) for tar in tars(version)])


def table_bytes(built: BuiltImage) -> int:
    """What the tables and tar-split data of an image take in its blobs."""
    total = 0
    for layer in built.layers:
        notes = layer["annotations"]
        for key in notes:
            if key.endswith("-position"):
                total += int(notes[key].split(":")[1])
    return total


@dataclass
class Puller:
    """A store that pulls."""

    host: Host

    def pull(self, reference: str) -> Pulled:
        host = self.host
        host.sysroot.initialise()
        accepted = resolve(host, reference)
        with pull(host, accepted, Silent()) as pulled:
            composed = compose_image(host.sysroot, accepted, pulled.tree)
        composed.publish()
        assert not missing_layers(host, accepted)
        return pulled

    def trusting(self) -> Puller:
        changed = self.host.configuration.model_copy(update={"trust_layer_tables": True})
        return Puller(replace(self.host, configuration=changed))

    def index(self, diff_id: str) -> bytes:
        """The lines of a layer's index, but for the last, which has the length of the stream."""
        path = layer_path(self.host.sysroot, Digest(diff_id))
        return path.read_bytes().rpartition(b"\nend ")[0]


def puller_at(folder: Path, registry: FaultyRegistry | DockerRegistry) -> Puller:
    folder.mkdir()
    registry.configure(folder)
    settings = RegistrySettings(root=folder, attempts=2, backoff_seconds=0.01, stall_seconds=2)
    return Puller(Host(Sysroot.at(folder), Configuration(parallel_layers=1), settings))


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    """A registry with both versions."""
    with faulty_registry() as found:
        for version in (1, 2):
            found.add_image(image(version), tag=f"v{version}")
        yield found


@pytest.fixture
def puller(tmp_path: Path, registry: FaultyRegistry) -> Puller:
    """A store that has version 1."""
    made = puller_at(tmp_path / "root", registry)
    made.pull(registry.reference(tag="v1"))
    registry.requests.clear()
    return made


def is_version_2(puller: Puller, folder: Path, registry: FaultyRegistry) -> bool:
    """Compare with a store that fetches all of it."""
    registry.faults.clear()
    fresh = puller_at(folder / "fresh", registry)
    fresh.pull(registry.reference(tag="v2"))
    return all(puller.index(one) == fresh.index(one) for one in image(2).diff_ids)


def test_an_upgrade_fetches_the_changed_files(
    registry: FaultyRegistry, puller: Puller, tmp_path: Path
) -> None:
    pulled = puller.pull(registry.reference(tag="v2"))
    sent = registry.sent(BLOB)
    assert sent <= 1.3 * CHANGED + table_bytes(image(2)) + 2_000
    assert pulled.layers == LAYERS
    assert sent - 2_000 < pulled.bytes <= sent
    assert is_version_2(puller, tmp_path, registry)


def test_a_rebuild_fetches_the_tables(registry: FaultyRegistry, puller: Puller) -> None:
    rebuilt = build_image([zstd_chunked(tar + bytes(512)) for tar in tars(1)])
    assert not {*rebuilt.diff_ids} & {*image(1).diff_ids}
    registry.add_image(rebuilt, tag="v2")
    pulled = puller.pull(registry.reference(tag="v2"))
    assert pulled.bytes < 1.01 * table_bytes(rebuilt)
    assert registry.count(BLOB) == LAYERS + 1


def test_one_connection_serves_all_parts_of_all_layers(
    registry: FaultyRegistry, puller: Puller
) -> None:
    before = registry.connections
    puller.pull(registry.reference(tag="v2"))
    # Resolving has its own; each of the two tries TLS first, and settles on what works.
    assert registry.connections - before == 2 * 2
    assert registry.count(BLOB) > 2 * LAYERS


def test_processes_fetch_parts_too(registry: FaultyRegistry, puller: Puller) -> None:
    # A process that has had workers keeps something open for the next ones; let it be another.
    program = (
        "import sys; from pathlib import Path; from bootd.operations.host import open_host\n"
        "from bootd.operations.progress import Silent; from bootd.operations.pull import pull\n"
        "from bootd.operations.image.resolve import resolve\n"
        "if __name__ == '__main__':\n"
        "    host = open_host(Path(sys.argv[1])); root = host.sysroot\n"
        "    accepted = resolve(host, sys.argv[2])\n"
        "    with root.lock(exclusive=True), pull(host, accepted, Silent()) as pulled:\n"
        "        print(pulled.bytes)\n"
    )
    folder = puller.host.sysroot.physical
    (folder / "etc/bootd").mkdir()
    (folder / "etc/bootd/bootd.toml").write_text("parallel_layers = 2\n")
    command = [sys.executable, "-c", program, str(folder), registry.reference(tag="v2")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert 0 < int(done.stdout) <= 1.3 * CHANGED + table_bytes(image(2))


def test_the_first_image_asks_for_no_table(tmp_path: Path, registry: FaultyRegistry) -> None:
    pulled = puller_at(tmp_path / "root", registry).pull(registry.reference(tag="v1"))
    assert pulled.bytes == sum(layer["size"] for layer in image(1).layers)
    assert not [one for one in registry.requests if "Range" in one.headers]


def test_from_a_layout_too(tmp_path: Path, registry: FaultyRegistry, puller: Puller) -> None:
    write_oci_layout(tmp_path / "layout", image(2))
    pulled = puller.pull(f"oci:{tmp_path}/layout:latest")
    assert pulled.bytes <= 1.3 * CHANGED + table_bytes(image(2))
    assert is_version_2(puller, tmp_path, registry)


FIRST_PART = r"blobs/sha256:%s"
FAULTS: dict[str, dict[str, Any]] = {
    "no ranges": {"times": -1, "ignore_range": True},
    "another range": {"times": -1, "content_range": "bytes 0-9/10"},
    "ranges refused": {"times": -1, "status": 416},
    "an error for ever": {"times": -1, "status": 503},
    "forbidden": {"times": -1, "status": 403},
    "damaged on the way": {"times": -1, "corrupt": True},
    "another blob": {"times": -1, "replace": bytes(5_000_000)},
    "cut again and again": {"times": -1, "cut_at": 10},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_where_parts_fail_the_layer_is_fetched_whole(
    fault: str,
    registry: FaultyRegistry,
    puller: Puller,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry.fail(BLOB, only_ranges=True, **FAULTS[fault])
    pulled = puller.pull(registry.reference(tag="v2"))
    assert pulled.bytes == sum(layer["size"] for layer in image(2).layers)
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len([one for one in warnings if "is fetched whole: " in one]) == LAYERS
    assert is_version_2(puller, tmp_path, registry)


def test_a_part_that_broke_is_taken_up_where_it_broke(
    registry: FaultyRegistry, puller: Puller, tmp_path: Path
) -> None:
    registry.fail(BLOB, only_ranges=True, times=1, cut_at=1_000)
    pulled = puller.pull(registry.reference(tag="v2"))
    assert pulled.bytes <= 1.3 * CHANGED + table_bytes(image(2))
    assert is_version_2(puller, tmp_path, registry)


def test_a_failure_that_passes_is_waited_for(registry: FaultyRegistry, puller: Puller) -> None:
    registry.fail(BLOB, only_ranges=True, times=1, status=503)
    pulled = puller.pull(registry.reference(tag="v2"))
    assert pulled.bytes <= 1.3 * CHANGED + table_bytes(image(2))


def test_a_mirror_without_parts_is_passed_over(
    registry: FaultyRegistry, puller: Puller, tmp_path: Path
) -> None:
    with faulty_registry() as mirror:
        mirror.add_image(image(2), tag="v2")
        mirror.fail(BLOB, only_ranges=True, times=-1, ignore_range=True)
        folder = tmp_path / "root/etc/containers/registries.conf.d"
        (folder / "zz-mirror.conf").write_text(
            f'[[registry]]\nlocation = "{registry.host}/os"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}/os"\ninsecure = true\n'
        )
        pulled = puller.pull(registry.reference(tag="v2"))
        assert pulled.bytes <= 1.3 * CHANGED + table_bytes(image(2))
        assert mirror.count(BLOB) > 0


def lie(table: dict[str, Any]) -> None:
    """Say that each new file is the known one of another name and the same size."""
    entries = {one["name"]: one for one in table["entries"] if one.get("size") == 6_000}
    new = [one for name, one in entries.items() if int(name.rpartition("-")[2]) % 100 == 50]
    known = next(one for name, one in entries.items() if not name.endswith("50"))
    for one in new:
        one["digest"] = known["digest"]


def test_a_lying_table_costs_traffic_and_nothing_else(
    registry: FaultyRegistry, puller: Puller, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.add_image(image(2, lambda tar: zstd_chunked(tar, edit=lie)), tag="lies")
    pulled = puller.pull(registry.reference(tag="lies"))
    assert pulled.bytes > sum(layer["size"] for layer in image(2).layers) - 1_000
    assert caplog.text.count("is fetched whole: a layer unpacks to") == LAYERS
    assert is_version_2(puller, tmp_path, registry)


def test_a_blob_that_is_wrong_as_a_whole_is_refused_as_ever(
    registry: FaultyRegistry, puller: Puller
) -> None:
    registry.fail(BLOB + ".*" + image(2).layers[0]["digest"], times=-1, corrupt=True)
    with pytest.raises(DigestMismatchError):
        puller.pull(registry.reference(tag="v2"))
    assert not has_layer(puller.host.sysroot, Digest(image(2).diff_ids[0]))


def test_tables_are_trusted_only_where_that_is_set(
    registry: FaultyRegistry, puller: Puller
) -> None:
    built = image(2, lambda tar: zstd_chunked(tar, with_tar_split=False))
    whole = sum(layer["size"] for layer in built.layers)
    registry.add_image(built, tag="v2")
    trusting = puller.trusting()
    pulled = trusting.pull(registry.reference(tag="v2"))
    assert pulled.bytes < whole / 5
    assert not any(was_verified(puller.host.sysroot, Digest(one)) for one in built.diff_ids)
    trusted = [puller.index(one) for one in built.diff_ids]
    # Trust withdrawn: whatever needs the layers next fetches them whole.
    assert puller.pull(registry.reference(tag="v2")).bytes == whole
    assert all(was_verified(puller.host.sysroot, Digest(one)) for one in built.diff_ids)
    assert [puller.index(one) for one in built.diff_ids] == trusted
    assert trusting.pull(registry.reference(tag="v2")).layers == 0


# With what people publish with


def publish(registry: DockerRegistry, folder: Path, program: str | Path, name: str) -> None:
    """Push both versions as zstd:chunked."""
    for version in (1, 2):
        layout = folder / f"{name}-{version}"
        build_oci_layout(layout, tars(version, name), compression="none")
        subprocess.run(
            [
                *(program, "copy", "--quiet", "--dest-compress-format=zstd:chunked"),
                *("--dest-tls-verify=false", f"oci:{layout}:latest"),
                f"docker://{registry.host}/{name}:v{version}",
            ],
            check=True,
            timeout=120,
        )


def upgraded(
    registry: DockerRegistry, folder: Path, name: str, *, trust: bool = False
) -> tuple[Puller, Pulled]:
    """A store that has pulled both versions, one after the other."""
    made = puller_at(folder, registry)
    made = made.trusting() if trust else made
    made.pull(f"{registry.host}/{name}:v1")
    return made, made.pull(f"{registry.host}/{name}:v2")


def has_version_2(puller: Puller, name: str, folder: Path) -> bool:
    """Compare with a store that got the same tar streams without any table."""
    build_oci_layout(folder / "layout", tars(2, name), compression="none")
    settings = RegistrySettings(root=folder)
    fresh = Puller(Host(Sysroot.at(folder), Configuration(parallel_layers=1), settings))
    fresh.pull(f"oci:{folder}/layout:latest")
    return all(puller.index(one) == fresh.index(one) for one in map(digest, tars(2, name)))


def test_layers_of_skopeo_with_tar_split(docker_registry: DockerRegistry, tmp_path: Path) -> None:
    publish(docker_registry, tmp_path, newer_skopeo(), "newer")
    puller, pulled = upgraded(docker_registry, tmp_path / "root", "newer")
    assert pulled.bytes < 3 * CHANGED
    assert has_version_2(puller, "newer", tmp_path / "fresh")
    verified = [was_verified(puller.host.sysroot, Digest(digest(tar))) for tar in tars(2, "newer")]
    assert all(verified)


def test_layers_of_this_skopeo(docker_registry: DockerRegistry, tmp_path: Path) -> None:
    """On Debian 12 it writes no tar-split data, so that only trust saves anything."""
    publish(docker_registry, tmp_path, "skopeo", "this")
    careful, pulled = upgraded(docker_registry, tmp_path / "careful", "this")
    assert has_version_2(careful, "this", tmp_path / "fresh")
    trusting, pulled_with_trust = upgraded(
        docker_registry, tmp_path / "trusting", "this", trust=True
    )
    assert has_version_2(trusting, "this", tmp_path / "fresh2")
    assert pulled_with_trust.bytes < 3 * CHANGED
    assert pulled_with_trust.bytes <= pulled.bytes
