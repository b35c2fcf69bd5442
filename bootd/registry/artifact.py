"""Manifests that are no image: what a signing program pushed beside one."""

from __future__ import annotations

import json

from pydantic import ValidationError

from bootd.model.errors import InvalidDigestError, InvalidManifestError
from bootd.model.image import OCI_MANIFEST, Descriptor, Manifest


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
