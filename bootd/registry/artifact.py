"""Manifests that are no image: what a signing program pushed beside one."""

from __future__ import annotations

import json
from typing import Final

from pydantic import ValidationError

from bootd.model.errors import InvalidDigestError, InvalidManifestError
from bootd.model.registry.image import OCI_INDEX, OCI_MANIFEST, Descriptor, Index, Manifest

MAX_REFERRERS: Final = 128


def listed_artifacts(data: bytes, kind: str, what: str) -> list[Descriptor]:
    """Return the manifests of a type that an index lists, at most `MAX_REFERRERS`.

    Args:
        data: the index, no larger than manifests may be.
        kind: the media type of the artifacts.
        what: its name, for messages.

    Raises:
        InvalidManifestError: it is no index.
    """
    try:
        value = json.loads(data)
        listed = Index.model_validate({"mediaType": OCI_INDEX, **value}).manifests
    except (ValueError, RecursionError, TypeError, ValidationError, InvalidDigestError) as error:
        raise InvalidManifestError(f"{what} is no list of artifacts") from error
    return [one for one in listed if one.artifact_type == kind][:MAX_REFERRERS]


def listed_layers(data: bytes, what: str) -> list[Descriptor]:
    """Return the layers of an OCI manifest, whatever their types.

    Args:
        data: the manifest, no larger than manifests may be.
        what: its name, for messages.

    Raises:
        InvalidManifestError: it is no manifest.
    """
    try:
        value = json.loads(data)
        return Manifest.model_validate({"mediaType": OCI_MANIFEST, **value}).layers
    except (ValueError, RecursionError, TypeError, ValidationError, InvalidDigestError) as error:
        raise InvalidManifestError(f"{what} is no manifest of signatures") from error
