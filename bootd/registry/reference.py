"""Image references: ``registry/name[:tag][@digest]``, and transports for what lies on this machine.

``oci:DIR`` and ``oci-archive:FILE`` are read in place; ``dir:``, ``docker-archive:`` and
``containers-storage:``, containers-transports(5), by way of a copy.

Pure. The grammar of registry references is the one of distribution-spec 1.1 ("Pulling manifests")
with Docker's for the registry part. A reference names its registry: there are no search lists, as
whoever registers a short name on the first registry of the list would own the machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.model.digest import Digest
from bootd.model.errors import InvalidDigestError, InvalidReferenceError
from bootd.model.registry.userinfo import has_userinfo, shown_reference

DEFAULT_TAG: Final = "latest"
_MAX_REFERENCE: Final = 1_000
_MAX_PATH: Final = 4_096
_MAX_NAME: Final = 255
_MAX_PORT: Final = 65_535

_DOMAIN: Final = re.compile(
    r"((?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[0-9a-fA-F:]{2,39}\])(?::([0-9]{1,5}))?",
    re.ASCII,
)
_COMPONENT: Final = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*", re.ASCII)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_REGISTRY_PREFIX: Final = "docker://"
_STORAGE: Final = "containers-storage"
_COPIED: Final = ("dir", "docker-archive", _STORAGE)
_TRANSPORT: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+-]*):(//|(?![0-9]+/)[^/]*/)?", re.ASCII)
_NOT_KNOWN: Final = re.compile(
    r"(docker-daemon|docker|ostree(?:-[a-z]+)*|registry|sif|tarball|atomic)\Z"
)
_KNOWN_HINT: Final = (
    "Write registry.example/name:tag, with docker:// in front or without, or oci:DIR, "
    "oci-archive:FILE, dir:DIR, docker-archive:FILE or containers-storage:NAME."
)
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class RegistryReference:
    """An image in a registry; a digest decides where there is also a tag.

    Attributes:
        domain: host and perhaps port, e.g. ``quay.io`` or ``127.0.0.1:5000``.
        path: the repository within it, e.g. ``team/os``.
        tag: the tag, or None where only a digest was given.
        digest: the digest, or None.
    """

    domain: str
    path: str
    tag: str | None
    digest: Digest | None

    @property
    def name(self) -> str:
        """Registry and repository without tag and digest."""
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return self.name + tag + digest


@dataclass(frozen=True, slots=True)
class LayoutReference:
    """An image in an OCI layout: a folder, or a tar file of one.

    Attributes:
        path: the absolute path of the folder or file.
        archive: whether it is a tar file.
        tag: the ``org.opencontainers.image.ref.name``, or None.
        digest: the digest of the manifest or index, or None.
    """

    path: Path
    archive: bool
    tag: str | None
    digest: Digest | None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{'oci-archive' if self.archive else 'oci'}:{self.path}{tag}{digest}"


@dataclass(frozen=True, slots=True)
class CopiedReference:
    """An image that another tool has to copy into an OCI layout first.

    Attributes:
        transport: ``dir``, ``docker-archive`` or ``containers-storage``.
        rest: what stands behind it, in that transport's own grammar.
    """

    transport: str
    rest: str

    @property
    def path(self) -> Path | None:
        """The folder or file it names, or None where it is a name in the storage of containers."""
        if self.transport == _STORAGE:
            return None
        return Path(self.rest if self.transport == "dir" else self.rest.partition(":")[0])

    def __str__(self) -> str:
        return f"{self.transport}:{self.rest}"


Reference = RegistryReference | LayoutReference | CopiedReference


def parse_reference(text: str) -> Reference:
    """Parse an image reference.

    A registry reference without tag and digest means the tag ``latest``.

    Raises:
        InvalidReferenceError: it does not follow the grammar, or names no registry; what stands
            before an ``@`` that may be a password is not repeated.
    """
    if has_userinfo(text):
        raise InvalidReferenceError(
            f"{shown_reference(text)[:_SHOWN]!r} has a user name or password in it",
            hint="Write the reference without what is before the @, and put credentials where "
            "containers-auth.json(5) says, e.g. with 'skopeo login --authfile "
            "/etc/ostree/auth.json HOST'. If that was a password, change it.",
        )
    for transport in ("oci", "oci-archive"):
        if text.startswith(transport + ":"):
            return _parse_layout(text, transport)
    for transport in _COPIED:
        if text.startswith(transport + ":"):
            return _parse_copied(text, transport)
    _refuse_transport(text)
    return _parse_registry(text.removeprefix(_REGISTRY_PREFIX), text)


def _parse_registry(bare: str, text: str) -> RegistryReference:
    if len(bare) > _MAX_REFERENCE:
        raise InvalidReferenceError(f"the reference has {len(bare)} characters")
    rest, digest = _split_digest(bare, text)
    domain, slash, rest = rest.partition("/")
    if not slash or not (set(domain) & set(".:") or domain == "localhost"):
        raise InvalidReferenceError(
            f"{text[:_SHOWN]!r} does not name its registry",
            hint="Write the registry too, as in registry.example/name:tag.",
        )
    path, colon, tag = rest.partition(":")
    match = _DOMAIN.fullmatch(domain)
    if match is None or (match[2] and not 0 < int(match[2]) <= _MAX_PORT):
        raise _wrong(text, f"{domain!r} is not a host name with an optional port")
    if not all(_COMPONENT.fullmatch(part) for part in path.split("/")):
        raise _wrong(text, f"{path!r} is not a repository name (lower case, digits, separators)")
    if len(domain) + 1 + len(path) > _MAX_NAME:
        raise _wrong(text, f"its name is longer than {_MAX_NAME} characters")
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(text, f"{tag!r} is not a tag")
    if not colon and digest is None:
        tag = DEFAULT_TAG
    return RegistryReference(domain.lower(), path, tag or None, digest)


def _refuse_transport(text: str) -> None:
    """Tell what other tools write before a reference from the name of a host."""
    match = _TRANSPORT.match(text)
    if match is None or text.startswith(_REGISTRY_PREFIX):
        return
    name, follows = match[1], match[2]
    if name in {"http", "https"}:
        raise InvalidReferenceError(
            f"{text[:_SHOWN]!r} begins with {name}://, which no image reference does",
            hint="Leave it out; that a registry has no TLS is said by 'insecure' in "
            "registries.conf.",
        )
    if _NOT_KNOWN.match(name) or (follows and name != "localhost"):
        raise InvalidReferenceError(
            f"the transport {name[:_SHOWN]!r} of {text[:_SHOWN]!r} is not known", hint=_KNOWN_HINT
        )


def _parse_copied(text: str, transport: str) -> CopiedReference:
    if len(text) > _MAX_PATH:
        raise InvalidReferenceError(f"the reference has {len(text)} characters")
    reference = CopiedReference(transport, text.removeprefix(transport + ":"))
    if not reference.rest or not reference.rest.isprintable():
        raise _wrong(text, f"nothing that can be read stands behind {transport}:")
    if reference.path is not None and not reference.path.is_absolute():
        raise InvalidReferenceError(
            f"{text[:_SHOWN]!r} needs an absolute path",
            hint=f"Write it as {transport}:/absolute/path.",
        )
    return reference


def _parse_layout(text: str, transport: str) -> LayoutReference:
    if len(text) > _MAX_PATH:
        raise InvalidReferenceError(f"the reference has {len(text)} characters")
    rest, digest = _split_digest(text.removeprefix(transport + ":"), text)
    # The first colon ends the path (containers-transports(5)), so a path cannot contain one.
    path, colon, tag = rest.partition(":")
    if not path.startswith("/") or "\0" in path:
        raise InvalidReferenceError(
            f"{text[:_SHOWN]!r} needs an absolute path",
            hint=f"Write it as {transport}:/absolute/path[:tag].",
        )
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(text, f"{tag!r} is not a tag")
    return LayoutReference(Path(path), transport == "oci-archive", tag or None, digest)


def _split_digest(rest: str, text: str) -> tuple[str, Digest | None]:
    before, at, digest = rest.partition("@")
    if not at:
        return rest, None
    try:
        return before, Digest(digest)
    except InvalidDigestError as error:
        raise _wrong(text, error.message) from error


def _wrong(text: str, why: str) -> InvalidReferenceError:
    return InvalidReferenceError(f"{text[:_SHOWN]!r} is not an image reference: {why[:300]}")
