"""``podman pull`` into a storage of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

from support.registry import DockerRegistry

from bench.measure import Measurement, measure
from bench.tool import Tool


class Podman(Tool):
    """The second version finds the layers of the first."""

    name: ClassVar[str] = "podman pull"
    program: ClassVar[str] = "podman"

    def __init__(self, folder: Path, registry: DockerRegistry) -> None:
        super().__init__(folder, registry)
        # What lasts as long as a boot must have a short name for podman: 50 characters at most.
        # It goes when nobody has the tool any more.
        self._boot = tempfile.TemporaryDirectory(prefix="podman-", dir="/tmp")

    def first(self) -> Measurement:
        return self._get("v1")

    def second(self) -> Measurement:
        return self._get("v2")

    def _get(self, tag: str) -> Measurement:
        places = ["--root", self.folder / "storage", "--runroot", self._boot.name]
        options = ["--quiet", "--tls-verify=false"]
        command = [self.program, *places, "pull", *options, self.reference(tag)]
        return measure(command, folder=self.folder)
