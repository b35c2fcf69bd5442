"""Where a repository is fetched from: containers-registries.conf(5), version 2, and its drop-ins.

Read are ``/etc/containers/registries.conf`` and, after it in the order of their names,
``/etc/containers/registries.conf.d/*.conf``; a later table replaces an earlier one with the same
prefix. ``credential-helpers`` says who is asked for credentials, in order; the last file with such
a list that is not empty counts. Besides it the ``[[registry]]`` tables are taken from them:

* ``prefix``: what they are for: ``host[:port][/path…]`` or ``*.domain``; the longest match wins;
* ``location``: what stands in place of the prefix; the prefix itself where absent;
* ``insecure``: accept any certificate, and plain HTTP;
* ``blocked``: refuse;
* ``mirror``: tables with ``location``, ``insecure`` and ``pull-from-mirror`` (``all``,
  ``digest-only``, ``tag-only``), tried in order before the location;
* ``mirror-by-digest-only``: mirrors only for references with a digest.

Search lists, aliases and short-name modes concern names without a registry, which bootd does not
take; they are passed over. A file in the old version 1 format is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bootd.model.errors import (
    InvalidConfigurationError,
    InvalidReferenceError,
    RegistryBlockedError,
)
from bootd.model.registry.userinfo import shown_reference, without_userinfo
from bootd.model.validation import in_words
from bootd.registry.reference import RegistryReference, parse_reference

_MAX_FILE: Final = 1 << 20
_MAX_FILES: Final = 1_000
_MAX_TABLES: Final = 10_000
_MAX_MIRRORS: Final = 100
_MAIN_FILE: Final = "etc/containers/registries.conf"
_DROP_IN_FOLDER: Final = "etc/containers/registries.conf.d"
_DOCKER_HUB: Final = "docker.io"
_MAX_HELPERS: Final = 100
_MAX_HELPER: Final = 100
AUTH_FILES: Final = "containers-auth.json"
"""What stands for the files of containers-auth.json(5) among credential helpers."""


class _PullFrom(StrEnum):
    ALL = "all"
    DIGEST_ONLY = "digest-only"
    TAG_ONLY = "tag-only"
    UNSET = ""


Place = Annotated[str, Field(max_length=1_000)]


class _Mirror(BaseModel):
    model_config = ConfigDict(extra="ignore", defer_build=True)

    location: Place
    insecure: bool = False
    pull_from_mirror: _PullFrom = _PullFrom.UNSET


class _Registry(BaseModel):
    model_config = ConfigDict(extra="ignore", defer_build=True)

    prefix: Place = ""
    location: Place = ""
    insecure: bool = False
    blocked: bool = False
    mirror: list[_Mirror] = Field(default_factory=list, max_length=_MAX_MIRRORS)
    mirror_by_digest_only: bool = False


@dataclass(frozen=True, slots=True)
class Location:
    """A repository as it is really asked for.

    Attributes:
        domain: host and perhaps port.
        path: the repository there.
        insecure: whether any certificate and plain HTTP will do.
    """

    domain: str
    path: str
    insecure: bool

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.domain}/{self.path}"


@dataclass(frozen=True, slots=True)
class NamedHelper:
    """A credential helper, or `AUTH_FILES`, and the file that names it."""

    name: str
    file: str


class Registries:
    """The settings of all files together.

    Attributes:
        credential_helpers: who is asked for credentials, in order.
    """

    def __init__(
        self, tables: dict[str, _Registry], credential_helpers: Sequence[NamedHelper] = ()
    ) -> None:
        self._tables = tables
        self.credential_helpers = credential_helpers or (NamedHelper(AUTH_FILES, ""),)

    def locations(self, reference: RegistryReference) -> list[Location]:
        """Return where to ask for an image: mirrors in order, then the registry itself.

        Raises:
            RegistryBlockedError: the registry is blocked.
            InvalidConfigurationError: a rewritten name is not a repository.
        """
        name = reference.name
        if reference.domain == _DOCKER_HUB and "/" not in reference.path:
            name = f"{_DOCKER_HUB}/library/{reference.path}"
        matches = [
            (length, prefix.startswith("*"), prefix)
            for prefix in self._tables
            if (length := _match(prefix, name, reference)) is not None
        ]
        if not matches:
            return [_location(name, insecure=False)]
        length, _, prefix = max(matches, key=lambda one: (one[0], not one[1]))
        table = self._tables[prefix]
        if table.blocked:
            raise RegistryBlockedError(f"registries.conf blocks {prefix}, so {name} is not fetched")
        rest = name[length:]
        mirrors = [
            _location(mirror.location + rest, insecure=mirror.insecure)
            for mirror in table.mirror
            if _is_for(mirror, table, reference)
        ]
        own = table.location + rest if table.location else name
        return [*mirrors, _location(own, insecure=table.insecure)]


def load_registries(root: Path) -> Registries:
    """Read the configuration below a root folder; no files at all are fine.

    Raises:
        InvalidConfigurationError: a file cannot be read or used; it is named.
    """
    folder = root / _DROP_IN_FOLDER
    try:
        names = sorted(path for path in folder.iterdir() if path.suffix == ".conf")
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise InvalidConfigurationError(f"{folder} cannot be read: {error.strerror}") from error
    tables: dict[str, _Registry] = {}
    helpers: list[NamedHelper] = []
    for path in [root / _MAIN_FILE, *names[:_MAX_FILES]]:
        if path.is_dir():
            continue
        value = _read(path)
        tables.update(_tables(path, value))
        helpers = _helpers(path, value) or helpers
        if len(tables) > _MAX_TABLES:
            raise InvalidConfigurationError(f"{path}: more than {_MAX_TABLES} registry tables")
    return Registries(tables, helpers)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_FILE + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE:
        raise InvalidConfigurationError(f"{path} has more than {_MAX_FILE} bytes")
    try:
        value = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidConfigurationError(f"{path} is not TOML: {error}") from error
    if "registries" in value:
        raise InvalidConfigurationError(
            f"{path} has the old version 1 format",
            hint="Write [[registry]] tables, see containers-registries.conf(5).",
        )
    return value


def _tables(path: Path, value: dict[str, Any]) -> dict[str, _Registry]:
    entries = value.get("registry", [])
    if not isinstance(entries, list):
        raise InvalidConfigurationError(f"{path}: registry is not an array of tables")
    tables = [_table(path, entry) for entry in entries]
    return {table.prefix: table for table in tables}


def _helpers(path: Path, value: dict[str, Any]) -> list[NamedHelper]:
    names = value.get("credential-helpers", [])
    if (
        not isinstance(names, list)
        or len(names) > _MAX_HELPERS
        or not all(isinstance(name, str) and 0 < len(name) <= _MAX_HELPER for name in names)
    ):
        raise InvalidConfigurationError(
            f"{path}: credential-helpers is not a list of at most {_MAX_HELPERS} names",
            hint='Write it as credential-helpers = ["ecr-login", "containers-auth.json"].',
        )
    return [NamedHelper(name, str(path)) for name in names]


def _table(path: Path, entry: Any) -> _Registry:
    try:
        table = _Registry.model_validate(_snake_keys(entry))
    except ValidationError as error:
        raise InvalidConfigurationError(f"{path}: {in_words(error, 'registry')}") from error
    table.prefix = (table.prefix or table.location).rstrip("/").removesuffix(":")
    table.location = table.location.rstrip("/")
    where = f"{path}: the table for {without_userinfo(table.prefix)[:200]!r}"
    if not table.prefix:
        raise InvalidConfigurationError(f"{path}: a registry table has no prefix and no location")
    wildcard = table.prefix.startswith("*.")
    if "*" in table.prefix.removeprefix("*.") or (wildcard and set(table.prefix) & set("/:@")):
        raise InvalidConfigurationError(f"{where}: a wildcard is only allowed as '*.domain'")
    if not table.location and not wildcard:
        table.location = table.prefix
    for mirror in table.mirror:
        mirror.location = mirror.location.rstrip("/")
        if table.mirror_by_digest_only and mirror.pull_from_mirror:
            raise InvalidConfigurationError(
                f"{where}: pull-from-mirror cannot stand beside mirror-by-digest-only"
            )
    for location in (table.location, *(mirror.location for mirror in table.mirror)):
        if "://" in location:
            raise InvalidConfigurationError(
                f"{where}: the location {without_userinfo(location)!r} has a scheme"
            )
    return table


def _snake_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.replace("-", "_"): _snake_keys(inner) for key, inner in value.items()}
    return [_snake_keys(inner) for inner in value] if isinstance(value, list) else value


def _match(prefix: str, name: str, reference: RegistryReference) -> int | None:
    """Return how many characters of a name a prefix stands for, or None."""
    if prefix.startswith("*."):
        host = reference.domain.partition(":")[0]
        suffix = prefix[1:]
        return len(host) if host.endswith(suffix) and len(host) > len(suffix) else None
    tag = f":{reference.tag}" if reference.tag else ""
    digest = f"@{reference.digest}" if reference.digest else ""
    if prefix in (name + tag, name + digest):
        return len(name)
    return len(prefix) if name == prefix or name.startswith(prefix + "/") else None


def _is_for(mirror: _Mirror, table: _Registry, reference: RegistryReference) -> bool:
    by_digest = reference.digest is not None
    if table.mirror_by_digest_only or mirror.pull_from_mirror is _PullFrom.DIGEST_ONLY:
        return by_digest
    return not by_digest or mirror.pull_from_mirror is not _PullFrom.TAG_ONLY


def _location(name: str, *, insecure: bool) -> Location:
    try:
        reference = parse_reference(name)
    except InvalidReferenceError as error:
        raise InvalidConfigurationError(
            f"registries.conf makes {shown_reference(name)[:200]!r} of a reference, which names "
            "no repository"
        ) from error
    if not isinstance(reference, RegistryReference):
        raise InvalidConfigurationError(
            f"registries.conf has the location {shown_reference(name)[:200]!r}"
        )
    return Location(reference.domain, reference.path, insecure)
