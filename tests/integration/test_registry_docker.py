"""Against Debian's docker-registry, with images that skopeo pushed."""

from __future__ import annotations

import pickle
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.images import (
    build_image,
    build_index,
    build_oci_layout,
    digest,
    host_architecture,
    tar_layer,
    write_oci_archive,
    write_oci_layout,
)
from support.registry import (
    PASSWORD,
    USERNAME,
    DockerRegistry,
    docker_registry,
    run_docker_registry,
)

from bootd.durable import Disk
from bootd.model.errors import ImageNotFoundError, NoMatchingPlatformError, UnauthorizedError
from bootd.model.registry.image import CachedCheck, Compression, ResolvedImage
from bootd.registry.settings import RegistrySettings
from bootd.registry.sources.source import ImageSource, open_source

__all__ = ["docker_registry"]

LAYERS = [
    tar_layer({"etc": None, "etc/hostname": b"box\n"}),
    tar_layer({"usr": None, "usr/blob": random.Random(1).randbytes(3_000_000)}),
    tar_layer({"usr/link": "blob"}),
]


@pytest.fixture
def settings(tmp_path: Path, docker_registry: DockerRegistry) -> RegistrySettings:
    docker_registry.configure(tmp_path)
    return RegistrySettings(root=tmp_path)


Opener = Callable[[str], ImageSource]


@pytest.fixture
def source_of(settings: RegistrySettings, tmp_path: Path) -> Iterator[Opener]:
    with ExitStack() as stack:

        def opened(reference: str) -> ImageSource:
            source = open_source(reference, settings, tmp_path / "partial", Disk())
            stack.callback(source.close)
            return source

        yield opened


def read_layers(source: ImageSource, image: ResolvedImage) -> list[bytes]:
    contents = []
    for layer, _ in image.layers:
        with source.blob(layer) as stream:
            contents.append(b"".join(stream))
    return contents


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_pushed_image_comes_back(
    compression: str, tmp_path: Path, docker_registry: DockerRegistry, source_of: Opener
) -> None:
    built = build_oci_layout(
        tmp_path / "layout",
        LAYERS,
        labels={"org.opencontainers.image.version": "1.2"},
        compression=compression,
    )
    reference = docker_registry.push(tmp_path / "layout", f"os/{compression}")
    source = source_of(reference)
    image = source.resolve()
    assert image.digest == built.digest
    assert image.manifest_bytes == built.manifest
    assert image.version == "1.2"
    assert [str(diff_id) for _, diff_id in image.layers] == [digest(layer) for layer in LAYERS]
    assert {layer.compression for layer, _ in image.layers} == {Compression(compression)}
    contents = read_layers(source, image)
    assert [digest(data) for data in contents] == [one["digest"] for one in built.layers]
    assert [layer.size for layer, _ in image.layers] == list(map(len, contents))
    assert list((tmp_path / "partial").iterdir()) == []


def test_index_leads_to_this_platform(
    tmp_path: Path, docker_registry: DockerRegistry, source_of: Opener
) -> None:
    here, other = build_image(LAYERS[:1]), build_image(LAYERS[:1], architecture="mips")
    index = build_index(
        [
            (other, {"os": "linux", "architecture": "mips"}),
            (here, {"os": "linux", "architecture": host_architecture()}),
        ]
    )
    write_oci_layout(tmp_path / "layout", index)
    reference = docker_registry.push(tmp_path / "layout", "os/index")
    source = source_of(reference)
    assert source.resolve().digest == here.digest
    found, check = source.poll(None)
    assert (found, check.top) == (here.digest, index.digest)
    assert source.poll(check) == (found, check)
    by_digest = reference.removesuffix(":latest") + f"@{index.digest}"
    source = source_of(by_digest)
    assert source.resolve().digest == here.digest


def test_image_for_another_platform_is_refused(
    tmp_path: Path, docker_registry: DockerRegistry, source_of: Opener
) -> None:
    build_oci_layout(tmp_path / "layout", LAYERS[:1], architecture="mips")
    reference = docker_registry.push(tmp_path / "layout", "os/mips")
    with pytest.raises(NoMatchingPlatformError, match="linux/mips"):
        source_of(reference).resolve()


def test_missing_tag(docker_registry: DockerRegistry, source_of: Opener) -> None:
    with pytest.raises(ImageNotFoundError, match="not found"):
        source_of(f"{docker_registry.host}/os/none:x").resolve()


def test_poll_sees_a_new_push(
    tmp_path: Path, docker_registry: DockerRegistry, source_of: Opener
) -> None:
    first = build_oci_layout(tmp_path / "layout", LAYERS[:1])
    reference = docker_registry.push(tmp_path / "layout", "os/moving")
    found, check = source_of(reference).poll(None)
    assert found == first.digest
    check = CachedCheck.model_validate_json(check.model_dump_json())
    assert source_of(reference).poll(check) == (found, check)
    second = build_oci_layout(tmp_path / "layout", LAYERS[:2])
    docker_registry.push(tmp_path / "layout", "os/moving")
    assert source_of(reference).poll(check)[0] == second.digest


def test_private_registry(tmp_path: Path) -> None:
    build_oci_layout(tmp_path / "layout", LAYERS)
    (tmp_path / "registry").mkdir()
    with run_docker_registry(tmp_path / "registry", private=True) as registry, ExitStack() as stack:
        registry.configure(tmp_path)
        reference = registry.push(tmp_path / "layout", "os/private")

        def opened() -> ImageSource:
            source = open_source(
                reference, RegistrySettings(root=tmp_path), tmp_path / "partial", Disk()
            )
            stack.callback(source.close)
            return source

        with pytest.raises(UnauthorizedError, match="wants a user name"):
            opened().resolve()
        subprocess.run(
            [
                *("skopeo", "login", "--tls-verify=false", f"--username={USERNAME}"),
                *("--password-stdin", f"--authfile={tmp_path}/etc/ostree/auth.json"),
                registry.host,
            ],
            input=PASSWORD.encode(),
            check=True,
            capture_output=True,
        )
        source = opened()
        assert len(read_layers(source, source.resolve())) == 3


def test_settings_and_images_travel_to_other_processes(
    tmp_path: Path, settings: RegistrySettings, source_of: Opener
) -> None:
    build_oci_layout(tmp_path / "layout", LAYERS)
    image = source_of(f"oci:{tmp_path}/layout").resolve()
    assert pickle.loads(pickle.dumps((settings, image))) == (settings, image)


@pytest.mark.parametrize("archive", [False, True], ids=["folder", "archive"])
def test_layouts_that_skopeo_wrote(archive: bool, tmp_path: Path, source_of: Opener) -> None:
    built = build_oci_layout(tmp_path / "layout", LAYERS, tag="v1")
    reference = f"oci:{tmp_path}/layout:v1"
    if archive:
        write_oci_archive(tmp_path / "image.tar", tmp_path / "layout")
        reference = f"oci-archive:{tmp_path}/image.tar:v1"
    source = source_of(reference)
    image = source.resolve()
    assert image.digest == built.digest == source.poll(None)[0]
    assert [digest(data) for data in read_layers(source, image)] == [
        one["digest"] for one in built.layers
    ]
