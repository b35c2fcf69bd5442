"""What a signature says: that somebody signed a manifest's digest under a name.

The JSON is that of containers-signature(5), which cosign writes, too, with another type.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256, sha384, sha512
from typing import Any, Final

from bootd.trust.refusal import RefusedSignatureError
from bootd.trust.sigstore.identity import SignedIdentity
from bootd.trust.simple.docker_reference import DockerReference, parse_docker_reference
from bootd.trust.strict_json import InvalidJsonError, fields, integer, parse_json, text

SIMPLE_SIGNING: Final = "atomic container signature"
COSIGN: Final = "cosign container image signature"
_HASHES: Final = {"sha256": sha256, "sha384": sha384, "sha512": sha512}


@dataclass(frozen=True, slots=True)
class Subject:
    """The image that is judged.

    Attributes:
        manifest: the manifest's bytes; of an index, those of the chosen one.
        name: how it was asked for; None: it is not from a registry.
    """

    manifest: bytes
    name: DockerReference | None

    def has_digest(self, digest: str) -> bool:
        """Return whether a digest, whatever its algorithm, is the manifest's."""
        algorithm, _, value = digest.partition(":")
        known = _HASHES.get(algorithm)
        return known is not None and known(self.manifest).hexdigest() == value


def check_payload(payload: bytes, kind: str, subject: Subject, identity: SignedIdentity) -> None:
    """Fail unless a payload, whose signature was right, speaks of this image.

    Args:
        payload: the JSON that was signed.
        kind: `SIMPLE_SIGNING` or `COSIGN`.
        subject: the image.
        identity: which names count.

    Raises:
        RefusedSignatureError: it is of another form, or about another image.
    """
    try:
        digest, name = _read(payload, kind)
    except InvalidJsonError as error:
        raise RefusedSignatureError(f"what was signed is of no known form: {error}") from error
    if not subject.has_digest(digest):
        raise RefusedSignatureError(f"it is for the digest {digest[:100]}, not for this image's")
    signed = parse_docker_reference(name)
    if signed is None or not identity.accepts(subject.name, signed):
        raise RefusedSignatureError(f"it is for the name {name[:200]!r}, which is not accepted")


def _read(payload: bytes, kind: str) -> tuple[str, str]:
    """Return the digest and the name that were signed."""
    value = fields(parse_json(payload, "it"), "it", {"critical", "optional"})
    _check_optional(value["optional"], nullable=kind == COSIGN)
    critical = fields(value["critical"], "critical", {"type", "image", "identity"})
    if critical["type"] != kind:
        raise InvalidJsonError(f"its type is {str(critical['type'])[:100]!r}")
    image = fields(critical["image"], "image", {"docker-manifest-digest"})
    named = fields(critical["identity"], "identity", {"docker-reference"})
    return (
        text(image["docker-manifest-digest"], "docker-manifest-digest"),
        text(named["docker-reference"], "docker-reference"),
    )


def _check_optional(value: Any, *, nullable: bool) -> None:
    if value is None and nullable:
        # cosign writes it so where nobody gave annotations.
        return
    if not isinstance(value, dict):
        raise InvalidJsonError("optional is not an object")
    if "creator" in value:
        text(value["creator"], "creator")
    if "timestamp" in value:
        integer(value["timestamp"], "timestamp")
