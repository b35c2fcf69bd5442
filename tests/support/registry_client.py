"""A registry's client in a folder, without waits; fixtures to import into a module.

`machine` is the client, `registry` a registry that serves `IMAGE`, and `source` the image there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bootd.clock import Clock
from bootd.durable import Disk
from bootd.model.registry.image import Descriptor
from bootd.registry.settings import RegistrySettings
from bootd.registry.sources.source import ImageSource, open_source
from support.images import BuiltImage, build_image, encode, tar_layer
from support.registry import FaultyRegistry, faulty_registry

IMAGE = build_image(
    [tar_layer({"usr/blob": random.Random(2).randbytes(600_000)}), tar_layer({"a": b"b"})],
    compression="none",
)
MANIFEST = r"GET .*/manifests/latest"
BLOB = r"GET .*/blobs/" + IMAGE.layers[0]["digest"]


@dataclass(frozen=True, slots=True)
class PatientClock(Clock):
    """Waits for nothing, and says what it would have waited for."""

    waits: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@dataclass(frozen=True, slots=True)
class SlowClock(PatientClock):
    """As if it had waited."""

    def monotonic(self) -> float:
        return PatientClock.monotonic(self) + sum(self.waits)


@dataclass
class Machine:
    """A client's side: folders, settings, a clock."""

    root: Path
    settings: RegistrySettings
    clock: PatientClock
    stack: ExitStack

    def open(self, reference: str, **changes: Any) -> ImageSource:
        known = {
            name: getattr(self.settings, name) for name in RegistrySettings.__dataclass_fields__
        }
        settings = RegistrySettings(**{**known, **changes})
        source = open_source(reference, settings, self.partial, Disk(), self.clock)
        self.stack.callback(source.close)
        return source

    @property
    def partial(self) -> Path:
        return self.root / "partial"

    def kept(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in self.partial.iterdir()}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    settings = RegistrySettings(
        root=tmp_path,
        first_byte_seconds=0.4,
        stall_seconds=0.4,
        rate_window_seconds=0.2,
        minimum_rate=1_000,
        document_seconds=0.6,
        attempts=3,
        partial_minimum=1,
        partial_after_seconds=0.0,
    )
    with ExitStack() as stack:
        yield Machine(tmp_path, settings, PatientClock(), stack)


@pytest.fixture
def registry(machine: Machine) -> Iterator[FaultyRegistry]:
    with faulty_registry() as found:
        found.configure(machine.root)
        found.add_image(IMAGE)
        yield found


@pytest.fixture
def source(machine: Machine, registry: FaultyRegistry) -> ImageSource:
    return machine.open(registry.reference())


def layer(image: BuiltImage = IMAGE, number: int = 0, **changes: Any) -> Descriptor:
    return Descriptor.model_validate({**image.layers[number], **changes})


def read(source: ImageSource, blob: Descriptor | None = None) -> bytes:
    with source.blob(blob or layer()) as stream:
        return b"".join(stream)


def content(blob: Descriptor | None = None) -> bytes:
    return IMAGE.blobs[(blob or layer()).digest]


def write_auth(machine: Machine, key: str, entry: dict[str, str]) -> None:
    folder = machine.root / "etc/ostree"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "auth.json").write_bytes(encode({"auths": {key: entry}}))
