"""Which scopes of a policy, and of registries.d, an image is in.

The rules are those of podman's transports: containers-policy.json(5), "Policy requirements", and
containers-registries.d(5), "Structure".
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Final

from bootd.registry.reference import LayoutReference, Reference, RegistryReference
from bootd.trust.simple.docker_reference import DockerReference, canonical_name
from bootd.trust.strict_json import InvalidJsonError

REGISTRY_TRANSPORT: Final = "docker"
"""What policies call images in registries."""
_FILE_TRANSPORTS: Final = frozenset({"dir", "oci", "oci-archive", "docker-archive"})
_REGISTRY_SCOPE: Final = re.compile(r"[^\s\x00-\x1f]+")


@dataclass(frozen=True, slots=True)
class Scopes:
    """Where a policy looks for an image.

    Attributes:
        transport: e.g. ``docker`` or ``oci``.
        names: scopes, the narrowest first.
    """

    transport: str
    names: tuple[str, ...]


def docker_reference(reference: Reference) -> DockerReference | None:
    """Return the name that signatures have to fit; None: an image in a file has no such name.

    Where a reference has a tag and a digest, the digest decides, as in podman.
    """
    if not isinstance(reference, RegistryReference):
        return None
    name = canonical_name(reference.domain, reference.path)
    if reference.digest is not None:
        return DockerReference(name, digest=str(reference.digest))
    return DockerReference(name, tag=reference.tag or "")


def scopes_of(reference: Reference) -> Scopes:
    """Return the scopes that an image is in."""
    named = docker_reference(reference)
    if named is not None:
        return Scopes(REGISTRY_TRANSPORT, (str(named), *_namespaces(named.name)))
    # Copied images are judged by what copies them.
    assert isinstance(reference, LayoutReference)
    transport = "oci-archive" if reference.archive else "oci"
    return Scopes(transport, tuple(_folders(str(reference.path))))


def check_scope(transport: str, scope: str) -> None:
    """Fail unless a scope can name images of a transport; of unknown ones any may.

    Raises:
        InvalidJsonError: no image can be in it.
    """
    if scope == "":
        return
    if transport in _FILE_TRANSPORTS:
        if not scope.startswith("/") or scope == "/" or posixpath.normpath(scope) != scope:
            raise InvalidJsonError(f"the scope {scope[:100]!r} is no absolute path without detours")
    elif transport == REGISTRY_TRANSPORT and not _REGISTRY_SCOPE.fullmatch(scope):
        raise InvalidJsonError(f"the scope {scope[:100]!r} names no registry")


def _namespaces(name: str) -> list[str]:
    """Return a repository and what it is in, down to wildcards for the registry's domain."""
    parts = name.split("/")
    names = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    labels = parts[0].partition(":")[0].split(".")
    return names + ["*." + ".".join(labels[count:]) for count in range(1, len(labels))]


def _folders(path: str) -> list[str]:
    """Return a path and the folders it is in, without the root."""
    parts = path.strip("/").split("/")
    return ["/" + "/".join(parts[:count]) for count in range(len(parts), 0, -1)]
