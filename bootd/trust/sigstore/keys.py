"""Public keys, and signatures by them.

What is accepted is what podman accepts: ECDSA with SHA-256 whatever the curve, RSA with PKCS #1
v1.5 and SHA-256, Ed25519 over the bytes themselves.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from bootd.trust.refusal import RefusedSignatureError, UnusableTrustError

PublicKey = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey

_PEM: Final = re.compile(
    rb"\s*-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----\s*"
)


def load_keys(contents: Sequence[bytes], what: str) -> list[PublicKey]:
    """Return public keys.

    Args:
        contents: each a key in PEM.
        what: their name, for messages.

    Raises:
        UnusableTrustError: one is no public key, or of a kind that signs no images.
    """
    return [_load_key(data, f"{what} {number}") for number, data in enumerate(contents, 1)]


def verify(key: PublicKeyTypes, signed: bytes, signature: bytes) -> bool:
    """Return whether a signature of some bytes is by a key."""
    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, signed, ECDSA(SHA256()))
        elif isinstance(key, RSAPublicKey):
            key.verify(signature, signed, PKCS1v15(), SHA256())
        elif isinstance(key, Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def key_der(key: PublicKey) -> bytes:
    """Return a key as a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7)."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def only_pem(data: bytes, what: str) -> bytes:
    """Return the contents of the one PEM block that some bytes are.

    Raises:
        RefusedSignatureError: they are anything else, or more.
    """
    match = _PEM.fullmatch(data)
    if match is not None:
        with suppress(binascii.Error):
            return base64.b64decode(match[2])
    raise RefusedSignatureError(f"{what} is not one PEM block")


def _load_key(data: bytes, what: str) -> PublicKey:
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableTrustError(f"{what} is not a public key in PEM: {error}") from error
    if not isinstance(key, PublicKey):
        raise UnusableTrustError(f"{what} is of a kind that signs no images")
    return key
