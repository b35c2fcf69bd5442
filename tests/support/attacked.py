"""A machine on v1 that is asked to upgrade to what an attacker made; what it must come to.

One machine bears all attacks of a test module, each by a registry of its own: after each nothing
that can be reached has changed. `Scene.recovers` shows that it still takes a good v2.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import resource
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bootd.model.errors import BootdError
from bootd.operations.host import Host
from bootd.operations.progress import Silent
from bootd.operations.stage import stage
from bootd.registry.settings import RegistrySettings
from support.images import BuiltImage, PackedLayer, build_image, encode, tar_layer
from support.machine import Machine, image_files
from support.registry import FaultyRegistry, faulty_registry

NAME = "os/image"
_MOST_MEMORY = 400 << 20
"""Bytes that one process may have had; that of the tests has most."""


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
            first_byte_seconds=0.5,
            document_seconds=1.5,
            attempts=2,
            backoff_seconds=0.01,
            retry_after_limit_seconds=0.1,
            rate_window_seconds=0.5,
            minimum_rate=1_000,
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

    def refuses(
        self,
        error: type[BootdError] | tuple[type[BootdError], ...],
        words: str,
        reference: str | None = None,
    ) -> BootdError:
        """Check that an upgrade ends with an error, by its class and words, and with no change."""
        before = self.state()
        with pytest.raises(BootdError) as caught:
            self.upgrade(reference)
        told = caught.value
        assert isinstance(told, error), repr(told)
        assert words in told.message, told.message
        assert told.hint, "it does not say what to do next"
        assert told.code
        assert len(told.message) <= 500, "it is no message for a person"
        assert told.message.isprintable()
        assert self.state() == before, "something that can be reached has changed"
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            assert resource.getrusage(who).ru_maxrss << 10 < _MOST_MEMORY
        return told

    def stored(self) -> dict[str, int]:
        """The files of the store and their sizes, but for notes of what was tried."""
        root = self.machine.sysroot.store
        return {
            str(path.relative_to(root)): path.stat().st_size
            for part in ("objects", "layers", "images", "downloads", "partial", "contents")
            for path in (root / part).rglob("*")
            if path.is_file()
        }

    def recovers(self) -> None:
        """Check that the machine takes a good image, with the edits of its ``/etc``."""
        self.registry.faults.clear()
        self.serve(image("v2"))
        self.upgrade()
        booted = self.machine.reboot()
        assert (self.machine.etc(booted) / "hostname").read_text() == "my-machine\n"

    def state(self) -> str:
        """A digest of all that can be reached: deployments, boot partition, records."""
        root = self.machine.folder
        running = hashlib.sha256()
        for part in ("bootd/deployments", "boot", "bootd/intent.json", "bootd/denied.json"):
            for path in sorted([root / part, *(root / part).rglob("*")]):
                running.update(str(path).encode())
                if path.is_file() and not path.is_symlink():
                    running.update(path.read_bytes())
        return running.hexdigest()


def machine_on_v1(folder: Path) -> Machine:
    """Return a machine that runs v1, whose ``/etc`` somebody edited."""
    root = folder / "root"
    root.mkdir()
    machine = Machine(root, folder / "unused")
    with attacked(machine) as scene:
        scene.serve(image("v1"))
        scene.upgrade()
        (machine.etc(machine.reboot()) / "hostname").write_text("my-machine\n")
    return machine


@contextmanager
def attacked(machine: Machine) -> Iterator[Scene]:
    """Have a machine follow a new registry."""
    with faulty_registry() as registry:
        registry.configure(machine.folder)
        yield Scene(machine, registry)


def image(version: str, **more: bytes | str | None) -> BuiltImage:
    """A good image; `more` are files of it."""
    labels = {"org.opencontainers.image.version": version}
    return build_image([tar_layer(image_files(version, **more))], labels=labels)


def without(*names: str) -> BuiltImage:
    """An image that lacks some files."""
    files = image_files("v2")
    return build_image([tar_layer({k: v for k, v in files.items() if k not in names})])


def layer_of(*pairs: tuple[tarfile.TarInfo, bytes]) -> BuiltImage:
    """An image whose second layer has these entries."""
    return build_image([tar_layer(image_files("v2")), tar_layer(list(pairs))])


def layer_above(tar: bytes, *, pack: Callable[[bytes], bytes] | None = None) -> BuiltImage:
    """An image whose second layer is this tar stream, perhaps packed in a way of its own."""
    packed = PackedLayer(tar, (pack or gzip.compress)(tar), "gzip")
    return build_image([tar_layer(image_files("v2")), packed])


def changed_manifest(change: Callable[[dict[str, Any]], object]) -> BuiltImage:
    """A good image but for its manifest."""
    good = image("v2")
    manifest = json.loads(good.manifest)
    change(manifest)
    return replace(good, manifest=encode(manifest))


def changed_config(change: Callable[[dict[str, Any]], object]) -> BuiltImage:
    """A good image but for its configuration, of which the manifest has the digest."""
    config = image("v2").config
    change(config)
    return with_config(encode(config))


def with_config(data: bytes) -> BuiltImage:
    """A good image with these bytes as its configuration."""
    good = image("v2")
    name = f"sha256:{hashlib.sha256(data).hexdigest()}"
    manifest = json.loads(good.manifest)
    manifest["config"].update(digest=name, size=len(data))
    return replace(good, manifest=encode(manifest), blobs={**good.blobs, name: data})


def changed_blob(change: Callable[[bytes], bytes]) -> BuiltImage:
    """A good image whose layer is served with other bytes under its digest."""
    good = image("v2")
    name = good.layers[0]["digest"]
    return replace(good, blobs={**good.blobs, name: change(good.blobs[name])})
