"""``podman pull`` into a storage of its own."""

from __future__ import annotations

from typing import ClassVar

from bench.measure import Measurement, measure
from bench.tool import Tool


class Podman(Tool):
    """The second version finds the layers of the first."""

    name: ClassVar[str] = "podman pull"
    program: ClassVar[str] = "podman"

    def first(self) -> Measurement:
        return self._get("v1")

    def second(self) -> Measurement:
        return self._get("v2")

    def _get(self, tag: str) -> Measurement:
        places = ["--root", self.folder / "storage", "--runroot", self.folder / "run"]
        command = ["podman", *places, "pull", "--quiet", "--tls-verify=false", self.reference(tag)]
        return measure(command, folder=self.folder)
