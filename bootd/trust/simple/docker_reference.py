"""Names of images as signatures and policies write them.

The grammar is that of github.com/distribution/reference, which podman and skopeo parse signed names
with: ``busybox`` means ``docker.io/library/busybox``. References that people give to bootd name
their registry; see `bootd.registry.reference`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_MAX_NAME: Final = 255
_MAX_REFERENCE: Final = 1_000
_HUB: Final = "docker.io"
_OLD_HUB: Final = "index.docker.io"
_OFFICIAL: Final = "library/"

_DOMAIN: Final = (
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
)
_PATH: Final = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*"
_DOMAIN_ALONE: Final = re.compile(_DOMAIN, re.ASCII)
_DOMAIN_AND_PATH: Final = re.compile(f"{_DOMAIN}/{_PATH}", re.ASCII)
_PATH_ALONE: Final = re.compile(_PATH, re.ASCII)
_TAG: Final = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_DIGEST: Final = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-f]{32,}", re.ASCII)
_HEX_ALONE: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class DockerReference:
    """The name of an image with its registry, and perhaps a tag and a digest.

    Attributes:
        name: registry and repository, e.g. ``quay.io/team/os``.
        tag: the tag, or empty.
        digest: the digest with its algorithm, or empty.
    """

    name: str
    tag: str = ""
    digest: str = ""

    @property
    def is_name_only(self) -> bool:
        """Whether it has neither tag nor digest."""
        return not self.tag and not self.digest

    def __str__(self) -> str:
        return (
            self.name
            + (f":{self.tag}" if self.tag else "")
            + (f"@{self.digest}" if self.digest else "")
        )


def parse_docker_reference(text: str) -> DockerReference | None:
    """Return the reference with its registry written out; None: it does not follow the grammar."""
    if len(text) > _MAX_REFERENCE or _HEX_ALONE.fullmatch(text):
        return None
    rest, at, digest = text.partition("@")
    last = rest.rpartition("/")[2]
    _, colon, tag = last.partition(":")
    name = rest[: len(rest) - len(colon + tag)] if "/" in rest or colon else rest
    if (at and not _DIGEST.fullmatch(digest)) or (colon and not _TAG.fullmatch(tag)):
        return None
    domain, path = _split(name)
    is_name = _DOMAIN_ALONE.fullmatch(domain) and _PATH_ALONE.fullmatch(path)
    if not is_name or len(domain) + 1 + len(path) > _MAX_NAME:
        return None
    return DockerReference(f"{domain}/{path}", tag, digest)


def canonical_name(domain: str, path: str) -> str:
    """Return registry and repository in the one way in which policies and signatures write them."""
    return "/".join(_split(f"{domain}/{path}"))


def is_prefix(text: str) -> bool:
    """Return whether a text is a registry, or a registry with the beginning of a repository."""
    return bool(_DOMAIN_ALONE.fullmatch(text) or _DOMAIN_AND_PATH.fullmatch(text))


def _split(name: str) -> tuple[str, str]:
    """Return the registry, the Docker Hub where none is named, and the repository."""
    first, slash, rest = name.partition("/")
    named = slash and (set(first) & set(".:") or first == "localhost" or first != first.lower())
    domain, path = (first, rest) if named else (_HUB, name)
    if domain == _OLD_HUB:
        domain = _HUB
    if domain == _HUB and "/" not in path:
        path = _OFFICIAL + path
    return domain, path
