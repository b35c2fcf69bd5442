"""``curl``, ``tar``, ``ostree commit`` of what that unpacked, then a checkout.

ostree takes no devices, and would not begin with the layers' tar streams because of them; they are
left out. It may consume the unpacked files instead of copying them.
"""

from __future__ import annotations

from typing import ClassVar

from bench.curl_tar import CurlTar
from bench.measure import Measurement, measure
from bench.tool import REPOSITORY


class Ostree(CurlTar):
    """The second version finds the layers and the objects of the first."""

    name: ClassVar[str] = "curl | tar + ostree commit + checkout"
    program: ClassVar[str] = "ostree"

    def _get(self, tag: str) -> Measurement:
        base = f"http://{self.registry.host}/v2/{REPOSITORY}/blobs"
        repository = f"--repo={self.folder}/repository"
        layers = self.layers(tag)
        script = [f"test -e {self.folder}/repository || ostree init --mode=bare {repository}"]
        script += [
            f"test -e {self.folder}/{digest} ||"
            f" curl --silent --fail --output {self.folder}/{digest} {base}/{digest}"
            for digest in layers
        ]
        plain = f"{self.folder}/plain"
        unpack = f"tar --extract --xattrs --exclude='./dev/*' --exclude='dev/*' --directory {plain}"
        script += [f"mkdir {plain}"]
        script += [
            f"{unpack} --gzip --force-local --file {self.folder}/{digest}" for digest in layers
        ]
        script += [
            f"ostree commit {repository} --branch={tag} --consume --tree=dir={plain}",
            f"rm -rf {plain}",
            f"ostree checkout {repository} --require-hardlinks {tag} {self.folder}/{tag}",
        ]
        return measure(["sh", "-ec", "\n".join(script)], folder=self.folder)
