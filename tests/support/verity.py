"""Digests as most stores have them."""

from bootd.model.hash_algorithm import SHA256
from bootd.store.objects import verity


def verity_digest(data: bytes) -> bytes:
    """The SHA-256 fs-verity digest of a content."""
    return verity.verity_digest(data, SHA256)
