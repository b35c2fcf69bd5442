"""Images that real programs signed, or that somebody tampered with, and real programs' verdicts.

They are in ``tests/vectors/signatures``: an OCI layout with images ``vectors.example/os:NAME``, and
their signatures beside them; lookaside signatures; keys; policies; what skopeo 1.22 said of each
policy and image. Cosign 2.6.5 and 3.1.3, skopeo 1.22, GnuPG and sigstore-go 1.3 made them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bootd.clock import SYSTEM_CLOCK
from bootd.model.digest import Digest
from bootd.model.registry.image import Descriptor, Platform, ResolvedImage
from bootd.registry.artifact import listed_artifacts, listed_layers
from bootd.registry.reference import LayoutReference
from bootd.registry.settings import RegistrySettings
from bootd.registry.sources.layout import FolderFiles, LayoutSource
from bootd.trust.accept import AcceptedImage, accept

VECTORS = Path(__file__).parent.parent / "vectors/signatures"
REPOSITORY = "vectors.example/os"
_PLATFORM = Platform(os="linux", architecture="amd64")


def verdicts(name: str = "verdicts.tsv") -> dict[tuple[str, str], str]:
    """Return what a program said of each policy, or signer, and image."""
    rows = [
        line.split("\t") for line in (VECTORS / name).read_text().splitlines() if line[:1] != "#"
    ]
    return {(policy, image): verdict for policy, image, verdict in rows}


def policies() -> list[str]:
    """Return the names of all policies."""
    return sorted({policy for policy, _ in verdicts()})


def images() -> list[str]:
    """Return the names of all images."""
    return sorted({image for _, image in verdicts()})


def trusting_root(folder: Path, policy: str | None) -> Path:
    """Return a folder that stands for ``/`` and has a policy, its keys and its signatures."""
    containers = folder / "etc/containers"
    (containers / "registries.d").mkdir(parents=True)
    (folder / "vectors").symlink_to(VECTORS)
    if policy is not None:
        text = (VECTORS / f"policies/{policy}.json").read_text()
        (containers / "policy.json").write_text(text.replace("@VECTORS@", "/vectors"))
    places = {
        "docker": {
            "vectors.example": {
                "use-sigstore-attachments": True,
                "lookaside": "file:///vectors/lookaside",
            }
        }
    }
    # JSON is YAML, too.
    (containers / "registries.d/vectors.yaml").write_text(json.dumps(places))
    return folder


class SignedImages(LayoutSource):
    """One of the images, served as a registry would serve it."""

    def __init__(self, name: str) -> None:
        self._tag = name
        self._layout = VECTORS / "layout"
        settings = RegistrySettings(platform=_PLATFORM)
        reference = LayoutReference(self._layout, archive=False, tag=name, digest=None)
        super().__init__(reference, settings, FolderFiles(self._layout))

    def resolve(self) -> ResolvedImage:
        """Return the image under its name in a registry."""
        found = super().resolve()
        values = {slot: getattr(found, slot) for slot in ResolvedImage.__slots__}
        return ResolvedImage(**{**values, "reference": f"{REPOSITORY}:{self._tag}"})

    def beside(self, tag: str) -> list[Descriptor]:
        """Return the layers that a tag of the layout lists."""
        data = self._document(tag)
        return [] if data is None else listed_layers(data, tag)

    def referrers(self, digest: Digest, kind: str) -> list[Descriptor]:
        """Return what the fallback tag of the referrers lists."""
        data = self._document(f"{digest.algorithm}-{digest.hex}")
        artifacts = [] if data is None else listed_artifacts(data, kind, "the referrers")
        return [
            layer
            for one in artifacts
            for layer in listed_layers(self._blob(one.digest), str(one.digest))
            if layer.media_type == kind
        ]

    def _document(self, tag: str) -> bytes | None:
        index: dict[str, Any] = json.loads((self._layout / "index.json").read_bytes())
        named = [
            Digest(one["digest"])
            for one in index["manifests"]
            if one.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag
        ]
        return self._blob(named[0]) if named else None

    def _blob(self, digest: Digest) -> bytes:
        return (self._layout / f"blobs/sha256/{digest.hex}").read_bytes()


def judge(name: str, root: Path, *, bundles: bool = False) -> AcceptedImage:
    """Let the policy of a root judge an image.

    Raises:
        BootdError: it is not accepted.
    """
    source = SignedImages(name)
    return accept(
        source, source.resolve(), RegistrySettings(root=root), SYSTEM_CLOCK, bundles=bundles
    )
