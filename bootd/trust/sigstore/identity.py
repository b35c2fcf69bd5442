"""Which signed names are right for an image: ``signedIdentity`` of containers-policy.json(5).

A signature names an image. Without a look at that name a genuine signature of one repository could
be served beside an image of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from bootd.trust.simple.docker_reference import DockerReference, is_prefix, parse_docker_reference
from bootd.trust.strict_json import InvalidJsonError, fields, text


class SignedIdentity(Protocol):
    """A rule for the name in a signature."""

    def accepts(self, wanted: DockerReference | None, signed: DockerReference) -> bool:
        """Return whether a signature with this name counts for the wanted image.

        Args:
            wanted: the image as it was asked for; None: it has no name of a registry.
            signed: the name in the signature.
        """


@dataclass(frozen=True, slots=True)
class MatchExact:
    """``matchExact``: the same name, tag and digest."""

    def accepts(self, wanted: DockerReference | None, signed: DockerReference) -> bool:
        """Return whether the names are the same; see `SignedIdentity`."""
        return wanted is not None and not signed.is_name_only and signed == wanted


@dataclass(frozen=True, slots=True)
class MatchRepoDigestOrExact:
    """``matchRepoDigestOrExact``: as `MatchExact`; by digest, the repository is enough."""

    def accepts(self, wanted: DockerReference | None, signed: DockerReference) -> bool:
        """Return whether the names fit; see `SignedIdentity`."""
        return wanted is not None and _fits_by_digest(wanted, signed)


@dataclass(frozen=True, slots=True)
class MatchRepository:
    """``matchRepository``: the same repository, whatever the tag."""

    def accepts(self, wanted: DockerReference | None, signed: DockerReference) -> bool:
        """Return whether the repositories are the same; see `SignedIdentity`."""
        return wanted is not None and signed.name == wanted.name


@dataclass(frozen=True, slots=True)
class ExactReference:
    """``exactReference``: the signature has one name, whatever was asked for."""

    reference: DockerReference

    def accepts(self, wanted: DockerReference | None, signed: DockerReference) -> bool:
        """Return whether the signature has that name; see `SignedIdentity`."""
        return not signed.is_name_only and signed == self.reference


@dataclass(frozen=True, slots=True)
class ExactRepository:
    """``exactRepository``: the signature is for one repository, whatever was asked for."""

    name: str

    def accepts(self, wanted: DockerReference | None, signed: DockerReference) -> bool:
        """Return whether the signature is for that repository; see `SignedIdentity`."""
        return signed.name == self.name


@dataclass(frozen=True, slots=True)
class RemapIdentity:
    """``remapIdentity``: the image was signed under another prefix, as copies in a mirror are."""

    prefix: str
    signed_prefix: str

    def accepts(self, wanted: DockerReference | None, signed: DockerReference) -> bool:
        """Return whether the signature has the name under that prefix; see `SignedIdentity`."""
        if wanted is None:
            return False
        if wanted.name == self.prefix or wanted.name.startswith(f"{self.prefix}/"):
            renamed = self.signed_prefix + wanted.name[len(self.prefix) :]
            if "/" not in renamed:
                return False
            wanted = DockerReference(renamed, wanted.tag, wanted.digest)
        return _fits_by_digest(wanted, signed)


def parse_identity(value: Any) -> SignedIdentity:
    """Return the rule that the JSON of a ``signedIdentity`` describes.

    Raises:
        InvalidJsonError: it describes none.
    """
    what = "signedIdentity"
    kind = value.get("type") if isinstance(value, dict) else None
    match kind:
        case "matchExact":
            fields(value, what, {"type"})
            return MatchExact()
        case "matchRepoDigestOrExact":
            fields(value, what, {"type"})
            return MatchRepoDigestOrExact()
        case "matchRepository":
            fields(value, what, {"type"})
            return MatchRepository()
        case "exactReference":
            reference = _reference(fields(value, what, {"type", "dockerReference"}))
            if reference.is_name_only:
                raise InvalidJsonError("dockerReference has neither a tag nor a digest")
            return ExactReference(reference)
        case "exactRepository":
            value = fields(value, what, {"type", "dockerRepository"})
            return ExactRepository(_reference(value, "dockerRepository").name)
        case "remapIdentity":
            value = fields(value, what, {"type", "prefix", "signedPrefix"})
            return RemapIdentity(_prefix(value, "prefix"), _prefix(value, "signedPrefix"))
        case _:
            raise InvalidJsonError(f"{what} has the unknown type {str(kind)[:100]!r}")


def _fits_by_digest(wanted: DockerReference, signed: DockerReference) -> bool:
    if signed.is_name_only or wanted.is_name_only:
        return False
    # The digest that was asked for is the manifest's, and so is the one that was signed.
    return signed == wanted if wanted.tag else signed.name == wanted.name


def _reference(value: Any, key: str = "dockerReference") -> DockerReference:
    written = text(value[key], key)
    reference = parse_docker_reference(written)
    if reference is None:
        raise InvalidJsonError(f"{key} {written[:100]!r} is not the name of an image")
    return reference


def _prefix(value: Any, key: str) -> str:
    written = text(value[key], key)
    if not is_prefix(written):
        raise InvalidJsonError(f"{key} {written[:100]!r} does not begin with a registry")
    return written
