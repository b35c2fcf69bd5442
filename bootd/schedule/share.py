"""A machine's own share of a span of time: always the same, and not that of its neighbours."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

_BYTES: Final = 8
_KEY_BYTES: Final = 64
"""The longest key of BLAKE2b (RFC 7693 section 2.1)."""


def derived_secret(*identities: bytes) -> bytes:
    """Return a secret that tells nothing of what identifies a machine, see machine-id(5)."""
    return blake2b(b"\0".join(identities), key=b"bootd schedule", digest_size=_KEY_BYTES).digest()


def share(secret: bytes, *words: str) -> float:
    """Return a number from 0 up to 1 that a machine draws for a purpose.

    Args:
        secret: the machine's, of at most 64 bytes.
        words: the purpose; others give another number.
    """
    drawn = blake2b("\0".join(words).encode(), key=secret, digest_size=_BYTES).digest()
    return int.from_bytes(drawn, "big") / (1 << (8 * _BYTES))
