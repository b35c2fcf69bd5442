"""``curl`` and ``ostree commit`` of the layers' tar streams, one on another, then a checkout.

ostree knows no whiteouts; where a layer has one it becomes a file, which costs about the same.
"""

from __future__ import annotations

from typing import ClassVar

from bench.curl_tar import CurlTar
from bench.measure import Measurement, measure
from bench.tool import REPOSITORY


class Ostree(CurlTar):
    """The second version finds the layers and the objects of the first."""

    name: ClassVar[str] = "curl + ostree commit + checkout"
    program: ClassVar[str] = "ostree"

    def _get(self, tag: str) -> Measurement:
        base = f"http://{self.registry.host}/v2/{REPOSITORY}/blobs"
        repository = f"--repo={self.folder}/repository"
        layers = self.layers(tag)
        script = [f"ostree init --mode=bare {repository}"]
        script += [
            f"test -e {self.folder}/{digest} ||"
            f" curl --silent --fail --output {self.folder}/{digest} {base}/{digest}"
            for digest in layers
        ]
        trees = " ".join(f"--tree=tar={self.folder}/{digest}" for digest in layers)
        script += [
            f"ostree commit {repository} --branch={tag} --tar-autocreate-parents {trees}",
            f"ostree checkout {repository} --require-hardlinks {tag} {self.folder}/{tag}",
        ]
        return measure(["sh", "-ec", "\n".join(script)], folder=self.folder)
