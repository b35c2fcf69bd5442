"""``curl`` into ``tar``, layer by layer: no digest is checked, no whiteout is understood."""

from __future__ import annotations

import json
import subprocess
from typing import ClassVar

from bench.measure import Measurement, measure
from bench.tool import REPOSITORY, Tool


class CurlTar(Tool):
    """The least that one can do; the second version starts again."""

    name: ClassVar[str] = "curl | tar"

    def first(self) -> Measurement:
        return self._get("v1")

    def second(self) -> Measurement:
        return self._get("v2")

    def _get(self, tag: str) -> Measurement:
        target = self.folder / tag
        target.mkdir()
        base = f"http://{self.registry.host}/v2/{REPOSITORY}/blobs"
        unpack = f"tar --extract --gzip --xattrs --xattrs-include='*' --directory {target}"
        script = "\n".join(
            f"curl --silent --fail {base}/{digest} | {unpack}" for digest in self.layers(tag)
        )
        return measure(["sh", "-ec", script], folder=self.folder)

    def layers(self, tag: str) -> list[str]:
        """The digests of the layers, the lowest first."""
        command = ["skopeo", "inspect", "--raw", "--tls-verify=false"]
        raw = subprocess.run(
            [*command, f"docker://{self.reference(tag)}"], check=True, capture_output=True
        ).stdout
        return [layer["digest"] for layer in json.loads(raw)["layers"]]
