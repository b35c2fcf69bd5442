"""Everything that can be wrong with what comes from outside, each with an error of its own.

The machine runs v1 and is asked to upgrade to a v2 that cannot be had. Whatever happens, nothing
that can be reached has changed, and once the fault is gone the same upgrade works.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.images import (
    OCI_MANIFEST,
    BuiltImage,
    PackedLayer,
    build_image,
    build_index,
    digest,
    encode,
    entry,
    tar_layer,
)
from support.machine import KERNEL, Machine, image_files
from support.registry import FaultyRegistry, faulty_registry
from support.tar_blocks import END, extended, member

from bootd.model.errors import (
    BootdError,
    ConnectionFailedError,
    DiffIdMismatchError,
    DigestMismatchError,
    HostUnknownError,
    ImageNotFoundError,
    InvalidKernelArgumentsError,
    InvalidLayerError,
    InvalidManifestError,
    ManifestTooLargeError,
    NoInitramfsError,
    NoKernelError,
    NoMatchingPlatformError,
    RateLimitedError,
    RedirectLoopError,
    RegistryBlockedError,
    ServerFailedError,
    SeveralKernelsError,
    SizeMismatchError,
    TimedOutError,
    TlsFailedError,
    UnauthorizedError,
    UnknownMediaTypeError,
)
from bootd.operations.host import Host
from bootd.operations.progress import Silent
from bootd.operations.stage import stage
from bootd.registry.settings import RegistrySettings

NAME = "os/image"
HEADERS = "usr/lib/modules"


@dataclass
class Scene:
    """A machine on v1, and the registry it follows."""

    machine: Machine
    registry: FaultyRegistry

    @property
    def host(self) -> Host:
        settings = RegistrySettings(
            root=self.machine.folder,
            connect_seconds=2,
            stall_seconds=0.5,
            attempts=2,
            backoff_seconds=0.01,
            retry_after_limit_seconds=0.1,
            partial_minimum=1,
        )
        host = self.machine.host
        configuration = host.configuration.model_copy(update={"image": self.reference})
        return replace(host, configuration=configuration, registry=settings)

    @property
    def reference(self) -> str:
        return self.registry.reference(NAME)

    def serve(self, image: BuiltImage) -> None:
        self.registry.add_image(image, NAME)

    def upgrade(self, reference: str | None = None) -> object:
        return stage(self.host, Silent(), reference=reference)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with faulty_registry() as registry:
        folder = tmp_path / "root"
        folder.mkdir()
        registry.configure(folder)
        made = Scene(Machine(folder, tmp_path / "unused"), registry)
        made.serve(image("v1"))
        made.upgrade()
        made.machine.reboot()
        (made.machine.etc(_booted(made)) / "hostname").write_text("my-machine\n")
        registry.requests.clear()
        yield made


def image(version: str, **more: bytes | str | None) -> BuiltImage:
    files = {name: value for name, value in image_files(version, **more).items() if value != b""}
    return build_image([tar_layer(files)], labels={"org.opencontainers.image.version": version})


def without(version: str, *names: str) -> BuiltImage:
    files = image_files(version)
    return build_image([tar_layer({k: v for k, v in files.items() if k not in names})])


def layer_of(*pairs: tuple[tarfile.TarInfo, bytes]) -> BuiltImage:
    return build_image([tar_layer(image_files("v2")), tar_layer(list(pairs))])


def layer_above(tar: bytes, *, pack: Callable[[bytes], bytes] | None = None) -> BuiltImage:
    """An image whose second layer is this tar stream, perhaps packed in a way of its own."""
    packed = PackedLayer(tar, (pack or gzip.compress)(tar), "gzip")
    return build_image([tar_layer(image_files("v2")), packed])


def changed_manifest(change: Callable[[dict], object]) -> BuiltImage:
    good = image("v2")
    manifest = json.loads(good.manifest)
    change(manifest)
    return replace(good, manifest=encode(manifest))


def changed_blob(change: Callable[[bytes], bytes]) -> BuiltImage:
    """The layer's bytes are replaced under its old digest."""
    good = image("v2")
    name = good.layers[0]["digest"]
    return replace(good, blobs={**good.blobs, name: change(good.blobs[name])})


def wrong_diff_id() -> BuiltImage:
    good = image("v2")
    config = {**good.config, "rootfs": {"type": "layers", "diff_ids": [digest(b"another")]}}
    data = encode(config)
    manifest = json.loads(good.manifest)
    manifest["config"].update(digest=digest(data), size=len(data))
    return replace(good, manifest=encode(manifest), blobs={**good.blobs, digest(data): data})


BAD_IMAGES: dict[str, tuple[Callable[[], BuiltImage], type[BootdError], str]] = {
    "layer with another digest": (
        lambda: changed_blob(lambda data: bytes([data[0] ^ 1]) + data[1:]),
        DigestMismatchError,
        "sha256:",
    ),
    "layer too short": (lambda: changed_blob(lambda data: data[:-9]), SizeMismatchError, "bytes"),
    "layer too long": (lambda: changed_blob(lambda data: data + b"x"), SizeMismatchError, "bytes"),
    "another diff ID": (wrong_diff_id, DiffIdMismatchError, "unpacks to"),
    "layer missing": (
        lambda: replace(image("v2"), blobs={digest(encode(image("v2").config)): b""}),
        BootdError,
        "",
    ),
    "layer of an unknown type": (
        lambda: changed_manifest(lambda m: m["layers"][0].update(mediaType="text/plain")),
        UnknownMediaTypeError,
        "text/plain",
    ),
    "manifest of an unknown type": (
        lambda: replace(image("v2"), media_type="application/x-unknown", manifest=b"{}"),
        BootdError,
        "",
    ),
    "manifest that is no JSON": (
        lambda: replace(image("v2"), manifest=b"{"),
        InvalidManifestError,
        "",
    ),
    "manifest too large": (
        lambda: changed_manifest(lambda m: m.update(annotations={"a": "x" * (5 << 20)})),
        ManifestTooLargeError,
        "",
    ),
    "no platform of this machine": (
        lambda: build_index([(image("v2"), {"architecture": "s390x", "os": "linux"})]),
        NoMatchingPlatformError,
        "s390x",
    ),
    "no kernel": (lambda: without("v2", f"{HEADERS}/{KERNEL}/vmlinuz"), NoKernelError, "vmlinuz"),
    "no initramfs": (
        lambda: without("v2", f"{HEADERS}/{KERNEL}/initramfs.img"),
        NoInitramfsError,
        "initramfs.img",
    ),
    "two kernels": (
        lambda: image("v2", **{f"{HEADERS}/7.0.0/vmlinuz": b"another kernel" * 9}),
        SeveralKernelsError,
        "7.0.0",
    ),
    "kernel arguments that do not parse": (
        lambda: image("v2", **{"usr/lib/bootc/kargs.d/20-bad.toml": b"kargs = [1"}),
        InvalidKernelArgumentsError,
        "20-bad.toml",
    ),
    "layer that is no tar": (
        lambda: build_image([b"this is no tar stream" * 100]),
        InvalidLayerError,
        "",
    ),
    "entry that climbs out": (
        lambda: layer_of((entry("../outside"), b"x")),
        InvalidLayerError,
        "outside",
    ),
    "entry that climbs out from within": (
        lambda: layer_of((entry("usr/../../outside"), b"x")),
        InvalidLayerError,
        "outside",
    ),
    "hard link to nothing": (
        lambda: layer_of((entry("usr/link", tarfile.LNKTYPE, target="usr/nothing"), b"")),
        InvalidLayerError,
        "layer 2: entry '/usr/link'",
    ),
    "very many attributes": (
        lambda: layer_above(
            extended(*((b"SCHILY.xattr.user.%04d" % at, b"x") for at in range(2_500)))
            + member(b"usr/culprit")
            + END
        ),
        InvalidLayerError,
        "layer 2: entry 'usr/culprit' has 42512 bytes of extended attributes, more than 32767",
    ),
    "time that is none": (
        lambda: layer_above(extended((b"mtime", b"1.7e9")) + member(b"usr/culprit") + END),
        InvalidLayerError,
        "layer 2: entry 'usr/culprit' has the malformed time",
    ),
    "mode that is no number": (
        lambda: layer_above(member(b"usr/culprit", mode=b"09999999") + END),
        InvalidLayerError,
        "layer 2: entry 'usr/culprit' has b'09999999'",
    ),
    "zero block in the middle": (
        lambda: layer_above(member(b"usr/a") + bytes(512) + member(b"usr/lost") + END),
        InvalidLayerError,
        "layer 2: a layer's tar stream has a single zero block",
    ),
    "layer compressed with xz": (
        lambda: layer_above(tar_layer({"usr/a": b"x"}), pack=lzma.compress),
        UnknownMediaTypeError,
        "layer 2: a layer is compressed with xz",
    ),
    "damaged gzip layer": (
        lambda: layer_above(tar_layer({"usr/a": b"x"}), pack=lambda tar: gzip.compress(tar)[:-6]),
        InvalidLayerError,
        "layer 2: a gzip layer",
    ),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_refused(name: str, scene: Scene) -> None:
    make, error, words = BAD_IMAGES[name]
    scene.serve(make())
    _refused(scene, error, words)


FAULTS: dict[str, tuple[dict, type[BootdError]]] = {
    "not allowed": ({"status": 401, "times": -1}, UnauthorizedError),
    "not found": ({"status": 404, "times": -1}, ImageNotFoundError),
    "rate limit": ({"status": 429, "times": -1, "headers": {"Retry-After": "1"}}, RateLimitedError),
    "server fault": ({"status": 500, "times": -1}, ServerFailedError),
    "redirect loop": (
        {"status": 307, "times": -1, "headers": {"Location": "/loop"}},
        RedirectLoopError,
    ),
    "stall": ({"stall": True, "times": -1}, TimedOutError),
    "cut again and again": ({"cut_at": 10, "times": -1}, BootdError),
}


@pytest.mark.parametrize("where", ["manifests", "blobs"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_failing_registry_changes_nothing(name: str, where: str, scene: Scene) -> None:
    what, error = FAULTS[name]
    scene.serve(image("v2"))
    scene.registry.fail(f"/{where}/|/loop", **what)
    _refused(scene, error, "")


def test_an_endless_blob_is_cut_off(scene: Scene) -> None:
    scene.serve(image("v2"))
    layer = image("v2").layers[0]["digest"]
    scene.registry.fail(layer, endless=True, times=-1)
    _refused(scene, SizeMismatchError, "")


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ("no-such-host.invalid/os/image:latest", HostUnknownError),
        ("127.0.0.1:1/os/image:latest", ConnectionFailedError),
        ("blocked.example/os/image:latest", RegistryBlockedError),
    ],
)
def test_a_registry_that_cannot_be_reached(
    reference: str, error: type[BootdError], scene: Scene
) -> None:
    folder = scene.machine.folder / "etc/containers/registries.conf.d"
    (folder / "blocked.conf").write_text('[[registry]]\nprefix="blocked.example"\nblocked=true\n')
    before = _state(scene)
    with pytest.raises(error) as caught:
        scene.upgrade(reference)
    assert caught.value.hint
    assert _state(scene) == before


def test_a_certificate_that_nobody_vouches_for(scene: Scene) -> None:
    with faulty_registry(tls=True) as registry:
        registry.add_image(image("v2"), NAME)
        before = _state(scene)
        with pytest.raises(TlsFailedError) as caught:
            scene.upgrade(registry.reference(NAME))
        assert caught.value.hint
        assert _state(scene) == before
        registry.configure(scene.machine.folder)
        scene.upgrade(registry.reference(NAME))


def test_an_index_of_the_wrong_kind_of_thing(scene: Scene) -> None:
    nested = build_index([(build_index([(image("v2"), None)]), None)])
    scene.serve(replace(nested, media_type=OCI_MANIFEST))
    _refused(scene, BootdError, "")


def _refused(scene: Scene, error: type[BootdError], words: str) -> None:
    before = _state(scene)
    with pytest.raises(error) as caught:
        scene.upgrade()
    assert words in caught.value.message
    assert len(caught.value.message) <= 300 or not isinstance(caught.value, InvalidLayerError)
    assert caught.value.hint, "it does not say what to do next"
    assert caught.value.code
    assert _state(scene) == before, "something that can be reached has changed"
    scene.registry.faults.clear()
    scene.serve(image("v2"))
    scene.upgrade()
    booted = scene.machine.reboot()
    assert (scene.machine.etc(booted) / "hostname").read_text() == "my-machine\n"


def _booted(scene: Scene) -> object:
    return scene.machine.sysroot.booted()


def _state(scene: Scene) -> str:
    """A digest of all that can be reached: deployments, boot partition, records."""
    root = scene.machine.folder
    running = hashlib.sha256()
    for part in ("bootd/deployments", "boot", "bootd/intent.json", "bootd/denied.json"):
        for path in sorted([root / part, *(root / part).rglob("*")]):
            running.update(str(path).encode())
            if path.is_file() and not path.is_symlink():
                running.update(path.read_bytes())
    return running.hexdigest()
