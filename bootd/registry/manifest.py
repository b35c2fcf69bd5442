"""Manifests, indexes and configurations: from bytes to checked values, and the platform choice.

Pure. Whatever the bytes are, only `ContentError`s leave. The served bytes decide: a media type in
the document must agree with the one it was served as, and a document that could be read as both a
manifest and an index is refused (distribution-spec, security advisory CVE-2021-41190).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from bootd.model.errors import (
    InvalidDigestError,
    InvalidManifestError,
    ManifestTooLargeError,
    NoMatchingPlatformError,
    UnknownMediaTypeError,
)
from bootd.model.registry.image import (
    CONFIG_TYPES,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    config_from_wire,
    layer_compression,
    plain_type,
)
from bootd.model.validation import in_words

MAX_MANIFEST_SIZE: Final = 4 << 20
"""The least that registries must take, so more is rare (distribution-spec, "Pushing Manifests")."""
MAX_CONFIG_SIZE: Final = 4 << 20

_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1"
_SHOWN: Final = 200
"""Characters of what a message quotes."""
_Model = TypeVar("_Model", bound=BaseModel)


def parse_manifest(data: bytes, served_as: str = "") -> Manifest | Index:
    """Parse what a tag or digest names.

    Args:
        data: the bytes as they were served.
        served_as: the Content-Type or the descriptor's media type, or empty where unknown.

    Raises:
        ManifestTooLargeError: more than `MAX_MANIFEST_SIZE` bytes.
        UnknownMediaTypeError: neither an image manifest nor an index, or unknown layers in it.
        InvalidManifestError: not what the specification asks for.
    """
    value = _json_object(data, MAX_MANIFEST_SIZE, "manifest")
    if "layers" in value and "manifests" in value:
        raise InvalidManifestError("the manifest has both layers and manifests")
    kind = _media_type(value, plain_type(served_as))
    value = {**value, "mediaType": kind}
    if kind in INDEX_TYPES:
        return _validate(Index, value, "index")
    manifest = _validate(Manifest, value, "manifest")
    _check_types(manifest)
    return manifest


def parse_config(data: bytes, manifest: Manifest) -> ImageConfig:
    """Parse the configuration that belongs to a manifest.

    Raises:
        ManifestTooLargeError: more than `MAX_CONFIG_SIZE` bytes.
        InvalidManifestError: malformed, or its diff IDs are not as many as the manifest's layers.
    """
    value = _json_object(data, MAX_CONFIG_SIZE, "image configuration")
    try:
        config = config_from_wire(value)
    except ValidationError as error:
        raise _invalid("image configuration", error) from error
    except InvalidDigestError as error:
        raise InvalidManifestError(f"image configuration: {error.message}") from error
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidManifestError(
            f"the manifest has {len(manifest.layers)} layers, "
            f"its configuration {len(config.diff_ids)} diff IDs"
        )
    return config


def choose_platform(entries: Sequence[Descriptor], wanted: Platform) -> Descriptor:
    """Return the entry of an index that suits a platform best; the first of equals.

    An entry without a platform is taken only if nothing else suits and it is the only one such.

    Raises:
        NoMatchingPlatformError: there is none; the message names what is offered.
    """
    images = [one for one in entries if one.media_type in MANIFEST_TYPES]
    ranked = [
        (rank, number)
        for number, entry in enumerate(images)
        if entry.platform is not None
        and (rank := platform_rank(entry.platform, wanted)) is not None
    ]
    if ranked:
        return images[min(ranked)[1]]
    unmarked = [one for one in images if one.platform is None and not one.artifact_type]
    if len(unmarked) == 1:
        return unmarked[0]
    raise NoMatchingPlatformError(f"no image for {wanted}; the index offers {_offered(images)}")


def check_platform(config: ImageConfig, wanted: Platform) -> None:
    """Refuse an image whose own configuration says that it is for another platform.

    A variant that is none of the architecture's, as far as bootd knows them, is no reason.

    Raises:
        NoMatchingPlatformError: it is.
    """
    actual = meant = config.platform
    levels = _VARIANTS.get(actual.architecture)
    if levels is None or actual.variant not in levels.names:
        meant = actual.model_copy(update={"variant": ""})
    if platform_rank(meant, wanted) is None:
        raise NoMatchingPlatformError(f"no image for {wanted}; this one is for {_cut(str(actual))}")


def platform_rank(offered: Platform, wanted: Platform) -> int | None:
    """Return how well a platform suits, 0 best, or None."""
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    runs = _runnable_variants(wanted)
    return runs.index(offered.variant) if offered.variant in runs else None


class _Levels(NamedTuple):
    """The variants of an architecture: each runs what those before it do.

    Attributes:
        names: the oldest first.
        baseline: what an image without a variant is for.
    """

    names: tuple[str, ...]
    baseline: str


_VARIANTS: Final = {
    "amd64": _Levels(("v1", "v2", "v3", "v4"), "v1"),
    "arm": _Levels(("v5", "v6", "v7", "v8"), "v7"),
    "arm64": _Levels(("v8", "v9"), "v8"),
    "ppc64le": _Levels(("power8", "power9", "power10", "power11"), "power8"),
}
"""Source: image-index.md, "Platform Variants"; Go's GOAMD64, GOARM, GOARM64 and GOPPC64."""


def _runnable_variants(platform: Platform) -> list[str]:
    """Return the variants a platform can run, best first; an empty one is the baseline."""
    levels = _VARIANTS.get(platform.architecture)
    if levels is None:
        return [platform.variant, ""] if platform.variant else [""]
    own = platform.variant or levels.baseline
    if own not in levels.names:
        return [own, ""]
    runs = list(levels.names[levels.names.index(own) :: -1])
    place = runs.index(levels.baseline) if levels.baseline in runs else len(runs)
    return [*runs[:place], "", *runs[place:]]


def _offered(images: Sequence[Descriptor]) -> str:
    names = sorted({str(one.platform) for one in images if one.platform is not None})
    return _cut(", ".join(names)) or "no image that names its platform"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _media_type(value: dict[str, Any], served_as: str) -> str:
    known = MANIFEST_TYPES | INDEX_TYPES
    written = value.get("mediaType")
    if written is not None and not isinstance(written, str):
        raise InvalidManifestError("the manifest's mediaType is not a string")
    written = plain_type(written or "")
    if written in known and served_as in known and written != served_as:
        raise InvalidManifestError(f"the manifest says it is {written}, but came as {served_as}")
    if (written or served_as).startswith(_SCHEMA_1) or value.get("schemaVersion") == 1:
        raise UnknownMediaTypeError(
            "the manifest is of Docker's schema 1, which has no verifiable layers",
            hint="Push the image anew with a current tool: skopeo copy --format oci.",
        )
    if written:
        media_type = written
    elif served_as in known:
        media_type = served_as
    elif "manifests" in value:
        media_type = OCI_INDEX
    elif "layers" in value:
        media_type = OCI_MANIFEST
    else:
        media_type = served_as
    if media_type not in known:
        raise UnknownMediaTypeError(f"the manifest has the media type {media_type[:200]!r}")
    return media_type


def _check_types(manifest: Manifest) -> None:
    if manifest.config.media_type not in CONFIG_TYPES:
        raise UnknownMediaTypeError(
            f"the configuration has the media type {manifest.config.media_type[:200]!r}; "
            "this is an artifact, not an image"
        )
    for number, layer in enumerate(manifest.layers, 1):
        if layer_compression(layer.media_type) is None:
            raise UnknownMediaTypeError(
                f"layer {number} has the media type {layer.media_type[:200]!r}"
            )


def _json_object(data: bytes, limit: int, what: str) -> dict[str, Any]:
    if len(data) > limit:
        raise ManifestTooLargeError(f"the {what} has {len(data)} bytes; {limit} are allowed")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidManifestError(f"the {what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidManifestError(f"the {what} is not a JSON object")
    return value


def _validate(model: type[_Model], value: dict[str, Any], what: str) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _invalid(what, error) from error
    except InvalidDigestError as error:
        raise InvalidManifestError(f"{what}: {error.message}") from error


def _invalid(what: str, error: ValidationError) -> InvalidManifestError:
    return InvalidManifestError(f"{what}: {in_words(error)}")
