"""OCI and Docker images as values: descriptors, manifests, configurations, and a resolved image.

Sources: OCI Image Specification 1.1 (descriptor.md, manifest.md, image-index.md, config.md) and the
Docker Image Manifest Version 2, Schema 2, which differ only in media types. Keys that bootd has no
use for are left out of the values; the served bytes are kept beside them where digests depend on
them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from bootd.model.acceptance import Acceptance
from bootd.model.digest import Digest
from bootd.model.registry.source_use import SourceUse
from bootd.model.text import one_line

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEX_TYPES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
CONFIG_TYPES: Final = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)

MAX_VERSION: Final = 256
"""Characters of a version, for people."""
MAX_LAYERS: Final = 1_000
MAX_INDEX_ENTRIES: Final = 1_000
MAX_BLOB_SIZE: Final = 1 << 40
_MAX_TEXT: Final = 4_096
_MAX_ANNOTATION: Final = 4 << 20
"""What the document that an annotation stands in may have in all."""
_VERSION: Final = "org.opencontainers.image.version"
EXPIRES: Final = "org.bootd.expires"
"""The label that says by when there will be a newer release (docs/decisions/0022)."""


class Compression(StrEnum):
    """How a layer's tar stream is packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


_LAYER_TYPE: Final = re.compile(
    r"application/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1|docker\.image\.rootfs(?:\."
    r"foreign)?\.diff)\.tar(?:[+.](gzip|zstd))?",
    re.ASCII,
)
"""Non-distributable and foreign layers are taken from the registry like any other: a descriptor's
``urls`` are never followed. Both ways to write the compression's name are in use for both families.
"""


@lru_cache
def layer_compression(media_type: str) -> Compression | None:
    """Return how a layer's media type says that its tar stream is packed; None: it is no layer's.

    What the blob begins with says it, too, and is believed (`bootd.store.tar.decompress`).
    """
    match = _LAYER_TYPE.fullmatch(plain_type(media_type))
    return None if match is None else Compression(match[1] or "none")


def plain_type(media_type: str) -> str:
    """Return a media type without parameters, in lower case (RFC 9110, section 8.3.1)."""
    return media_type.partition(";")[0].strip().lower()


def _plain_type_of(value: object) -> object:
    return plain_type(value) if isinstance(value, str) else value


def _without_nulls(value: object) -> object:
    # Go writes an absent map, list or text as null.
    if isinstance(value, dict):
        return {key: text for key, text in value.items() if text is not None}
    return {} if value is None else value


def _empty_if_null(value: object) -> object:
    return "" if value is None else value


Text = Annotated[str, Field(max_length=_MAX_TEXT)]
MaybeText = Annotated[Text, BeforeValidator(_empty_if_null)]
MediaType = Annotated[Text, BeforeValidator(_plain_type_of)]
Annotations = Annotated[
    dict[str, Annotated[str, Field(max_length=_MAX_ANNOTATION)]],
    BeforeValidator(_without_nulls),
    Field(default_factory=dict),
]
"""Annotations or labels: bootd uses few of them, so their number and size are nobody's fault."""


class _Wire(BaseModel):
    """JSON as registries write it: camel case keys, keys to come are ignored."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
    )


class Platform(_Wire):
    """What an image runs on."""

    os: Text
    architecture: Text
    variant: MaybeText = ""

    def __str__(self) -> str:
        parts = (self.os, self.architecture, self.variant)
        return "/".join(part for part in parts if part)


class Descriptor(_Wire):
    """A reference to content: what it is, its digest and its size in bytes."""

    media_type: MediaType
    digest: Digest
    size: int = Field(ge=0, le=MAX_BLOB_SIZE, strict=True)
    annotations: Annotations
    platform: Platform | None = None
    artifact_type: MaybeText = ""

    @property
    def compression(self) -> Compression:
        """How a layer says to be packed; only for descriptors of a parsed manifest's layers."""
        told = layer_compression(self.media_type)
        assert told is not None
        return told


class Manifest(_Wire):
    """An image for one platform; `media_type` is always filled in."""

    media_type: Text
    config: Descriptor
    layers: Annotated[list[Descriptor], Field(max_length=MAX_LAYERS)]
    annotations: Annotations


class Index(_Wire):
    """A choice of manifests by platform; `media_type` is always filled in."""

    media_type: Text
    manifests: Annotated[list[Descriptor], Field(max_length=MAX_INDEX_ENTRIES)]
    annotations: Annotations


class ImageConfig(_Wire):
    """The parts of an image configuration that bootd needs."""

    os: Text
    architecture: Text
    variant: MaybeText = ""
    created: datetime | None = None
    labels: Annotations
    diff_ids: Annotated[list[Digest], Field(max_length=MAX_LAYERS)]

    @property
    def platform(self) -> Platform:
        """What the image says it runs on."""
        return Platform(os=self.os, architecture=self.architecture, variant=self.variant)


class ImageName(NamedTuple):
    """What a deployment's record says of its image.

    Attributes:
        reference: as it was asked for.
        digest: the manifest's.
        version: for people.
        taken_from: where it came from instead of the reference, once; None: from there.
        released: when it was built, by its own word, or None.
        accepted: what the policy for images said of it, or None: nobody knows any more.
        expires: by when there will be a newer release, by its own word, or None.
    """

    reference: str
    digest: Digest
    version: str
    taken_from: str | None = None
    released: datetime | None = None
    accepted: Acceptance | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image of this machine's platform whose manifest and configuration were verified.

    Attributes:
        reference: what was resolved, as it was written.
        digest: the digest of `manifest_bytes`: the platform's manifest, not the index.
        manifest: the parsed manifest.
        manifest_bytes: it as it was served.
        config: the parsed configuration; it has as many diff IDs as the manifest has layers.
        config_bytes: it as it was served.
        seen: what makes the next poll of the reference cheap.
        uses: which places were asked for all that.
    """

    reference: str
    digest: Digest
    manifest: Manifest
    manifest_bytes: bytes
    config: ImageConfig
    config_bytes: bytes
    seen: CachedCheck
    uses: tuple[SourceUse, ...] = ()

    @property
    def name(self) -> ImageName:
        """What of it goes into a deployment's record."""
        return ImageName(
            self.reference,
            self.digest,
            self.version,
            released=self.config.created,
            expires=self.expires,
        )

    @property
    def version(self) -> str:
        """``org.opencontainers.image.version``, from the labels or the annotations, or empty.

        It is for people: a line of at most `MAX_VERSION` characters, whatever the image says.
        """
        said = self.config.labels.get(_VERSION) or self.manifest.annotations.get(_VERSION, "")
        return one_line(said, MAX_VERSION)

    @property
    def expires(self) -> datetime | None:
        """``org.bootd.expires``, from the labels or the annotations; None: that is no time.

        Who signs an image signs both.
        """
        said = self.config.labels.get(EXPIRES) or self.manifest.annotations.get(EXPIRES, "")
        try:
            moment = datetime.fromisoformat(said)
        except ValueError:
            return None
        return moment if moment.tzinfo is not None else None

    @property
    def layers(self) -> list[tuple[Descriptor, Digest]]:
        """Each layer's descriptor and diff ID, lowest first."""
        return list(zip(self.manifest.layers, self.config.diff_ids, strict=True))


class CachedCheck(BaseModel):
    """What was last seen of a reference, kept so that the next poll costs one conditional request.

    Attributes:
        reference: what was asked for; another reference makes the record worthless.
        platform: for which platform.
        location: the registry and repository that answered; `etag` means something there only.
        top: the digest of what the tag names: a manifest or an index.
        digest: the digest of this platform's manifest.
        etag: the server's entity tag, or empty.
        tells_digest: whether the server sends Docker-Content-Digest, so that HEAD is enough.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    reference: Text
    platform: Text
    location: Text = ""
    top: Digest
    digest: Digest
    etag: Text = ""
    tells_digest: bool = False


def config_from_wire(value: dict[str, Any]) -> ImageConfig:
    """Build the configuration from its JSON object (config.md), whose keys are nested.

    Raises:
        pydantic.ValidationError: a value is missing or of the wrong type.
    """
    settings = value.get("config")
    root = value.get("rootfs")
    flat: dict[str, Any] = {
        **{key: value[key] for key in ("os", "architecture", "variant", "created") if key in value},
        "labels": settings.get("Labels") if isinstance(settings, dict) else None,
        "diffIds": root.get("diff_ids") if isinstance(root, dict) else None,
    }
    return ImageConfig.model_validate(flat)
