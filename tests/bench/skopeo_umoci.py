"""``skopeo copy`` into a folder, then ``umoci raw unpack``: the yardstick."""

from __future__ import annotations

from typing import ClassVar

from bench.measure import Measurement, measure
from bench.tool import Tool


class SkopeoUmoci(Tool):
    """Both commands in turn; the second version finds the blobs of the first."""

    name: ClassVar[str] = "skopeo copy + umoci raw unpack"

    def first(self) -> Measurement:
        return self._get("v1")

    def second(self) -> Measurement:
        return self._get("v2")

    def _get(self, tag: str) -> Measurement:
        copy = "skopeo copy --quiet --src-tls-verify=false"
        image = f"{self.folder}/layout:{tag}"
        script = (
            f"{copy} docker://{self.reference(tag)} oci:{image} && "
            f"umoci raw unpack --image {image} {self.folder}/{tag}"
        )
        return measure(["sh", "-c", script], folder=self.folder)
