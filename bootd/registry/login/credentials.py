"""Credentials for a repository, from the files of containers-auth.json(5) and credential helpers.

Search order; the first file that knows the repository wins:

1. ``$REGISTRY_AUTH_FILE``, and where it is set nothing else;
2. ``/run/ostree/auth.json``, ``/etc/ostree/auth.json``, ``/usr/lib/ostree/auth.json``: credentials
   that were put there for the operating system's image;
3. ``$XDG_RUNTIME_DIR/containers/auth.json`` or ``/run/containers/0/auth.json``,
   ``$XDG_CONFIG_HOME/containers/auth.json``, ``~/.docker/config.json``: what ``login`` writes.

Within a file a helper for the registry comes first, then the longest matching key, then the helper
for all registries.

``credential-helpers`` of registries.conf says which helpers are asked besides, and in which order:
``containers-auth.json`` in that list stands for all of the files.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bootd.model.errors import BootdError, InvalidConfigurationError, ProcessFailedError
from bootd.model.validation import in_words
from bootd.registry.login.credential_helper import PROGRAM_PREFIX, ask_helper
from bootd.registry.registries_conf import AUTH_FILES, NamedHelper, load_registries

_log = logging.getLogger(__name__)

_MAX_FILE: Final = 1 << 20
_NOTHING: Final[Mapping[str, str]] = {}
_DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_KEYS: Final = ("index.docker.io", "registry-1.docker.io")
_DOCKER_HUB_SERVER: Final = "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What to show a registry.

    Attributes:
        username: empty with an identity token.
        password: empty with an identity token.
        identity_token: an OAuth 2 refresh token, or empty.
        origin: the file and key, or the helper and who names it, for messages.
        missing: why there are none, although a file wants some to be shown; all else is empty then.
    """

    username: str
    password: str = field(repr=False)
    identity_token: str = field(repr=False)
    origin: str
    missing: str = ""


def _empty_if_null(value: object) -> object:
    return {} if value is None else value


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", defer_build=True)

    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _AuthFile(BaseModel):
    model_config = ConfigDict(extra="ignore", defer_build=True)

    auths: Annotated[dict[str, _Entry], BeforeValidator(_empty_if_null)] = Field(
        default_factory=dict
    )
    cred_helpers: Annotated[dict[str, str], BeforeValidator(_empty_if_null)] = Field(
        default_factory=dict, alias="credHelpers"
    )
    creds_store: str = Field(default="", alias="credsStore")


def auth_files(root: Path, environment: Mapping[str, str]) -> list[Path]:
    """Return the files to look into, in order; the system's are taken below `root`."""
    if explicit := environment.get("REGISTRY_AUTH_FILE"):
        return [Path(explicit)]
    home = environment.get("HOME") or "/root"
    runtime = environment.get("XDG_RUNTIME_DIR")
    places = [
        *(f"{folder}/ostree/auth.json" for folder in ("/run", "/etc", "/usr/lib")),
        f"{runtime}/containers/auth.json" if runtime else "/run/containers/0/auth.json",
        f"{environment.get('XDG_CONFIG_HOME') or home + '/.config'}/containers/auth.json",
        f"{home}/.docker/config.json",
    ]
    return [root / place.lstrip("/") for place in places]


def credentials_for(
    repository: str, root: Path, environment: Mapping[str, str], more: Mapping[str, str] = _NOTHING
) -> Credentials | None:
    """Return the credentials for a repository by the files and settings below a root, or None.

    Args:
        repository: registry and path, e.g. ``quay.io/team/os``.
        root: see `auth_files`.
        environment: this process's.
        more: what helpers get besides it.

    Raises:
        InvalidConfigurationError: a file cannot be read, or an entry in it be used.
        ProcessFailedError: a helper failed.
    """
    files = auth_files(root, environment)
    return find_credentials(repository, files, load_registries(root).credential_helpers, more)


def find_credentials(
    repository: str,
    files: list[Path],
    helpers: Sequence[NamedHelper] = (NamedHelper(AUTH_FILES, ""),),
    environment: Mapping[str, str] = _NOTHING,
) -> Credentials | None:
    """Return the credentials for a repository, or None.

    One of several helpers that fails keeps nobody from asking the others; its error is raised
    where none of them has credentials.

    Args:
        repository: registry and path, e.g. ``quay.io/team/os``.
        files: the places, first choice first; missing ones are passed over.
        helpers: who is asked, in order; `AUTH_FILES` stands for the files.
        environment: what helpers get besides this process's own.

    Raises:
        InvalidConfigurationError: a file cannot be read, or an entry in it be used.
        ProcessFailedError: a credential helper failed.
    """
    failures: list[BootdError] = []
    nobody: Credentials | None = None
    for helper in helpers:
        try:
            if helper.name == AUTH_FILES:
                credentials = _find_in_files(repository, files, environment)
            else:
                host = repository.partition("/")[0]
                named_by = f"{helper.file} (credential-helpers)"
                credentials = _from_helper(helper.name, host, named_by, environment)
        except (InvalidConfigurationError, ProcessFailedError) as error:
            failures.append(error)
            continue
        if credentials is not None and not credentials.missing:
            _log.debug("credentials for %s from %s", repository, credentials.origin)
            return credentials
        nobody = credentials or nobody
    if failures:
        raise failures[0]
    return nobody


def _find_in_files(
    repository: str, files: list[Path], environment: Mapping[str, str]
) -> Credentials | None:
    nobody: Credentials | None = None
    for path in files:
        content = _read(path)
        credentials = None if content is None else _find_in(path, content, repository, environment)
        if credentials is not None and not credentials.missing:
            return credentials
        nobody = credentials or nobody
    return nobody


def _find_in(
    path: Path, content: _AuthFile, repository: str, environment: Mapping[str, str]
) -> Credentials | None:
    host = repository.partition("/")[0]
    for key in _host_keys(host):
        if key in content.cred_helpers:
            named_by = f"{path} (credHelpers, {key})"
            return _from_helper(content.cred_helpers[key], host, named_by, environment)
    entries = {_normalised(key): entry for key, entry in content.auths.items()}
    for key in _keys(repository):
        if key in entries and (credentials := _from_entry(path, key, entries[key])):
            return credentials
    if content.creds_store:
        named_by = f"{path} (credsStore)"
        program = f"{PROGRAM_PREFIX}{content.creds_store}"
        if shutil.which(program) is None:
            # It is for every registry there is, and the file may be of a workstation; podman does
            # not know the key, so what is public is had without it.
            return Credentials(
                "", "", "", "", f"{named_by} names {program}, which is not installed"
            )
        return _from_helper(content.creds_store, host, named_by, environment)
    return None


def _from_helper(
    name: str, host: str, named_by: str, environment: Mapping[str, str]
) -> Credentials | None:
    server = _DOCKER_HUB_SERVER if host == _DOCKER_HUB else host
    answer = ask_helper(name, server, named_by, environment)
    origin = f"{PROGRAM_PREFIX}{name}, which {named_by} names"
    return None if answer is None else Credentials(*answer, origin)


def _host_keys(host: str) -> tuple[str, ...]:
    return (host, *_DOCKER_HUB_KEYS, _DOCKER_HUB_SERVER) if host == _DOCKER_HUB else (host,)


def _keys(repository: str) -> list[str]:
    parts = repository.split("/")
    paths = ["/".join(parts[:count]) for count in range(len(parts), 1, -1)]
    return [*paths, *_host_keys(parts[0])]


def _normalised(key: str) -> str:
    """Return the key without what Docker puts around a host: ``https://`` and ``/v1/``."""
    bare, scheme = key, False
    for prefix in ("https://", "http://"):
        if key.startswith(prefix):
            bare, scheme = key.removeprefix(prefix), True
    return bare.partition("/")[0] if scheme else bare.rstrip("/")


def _from_entry(path: Path, key: str, entry: _Entry) -> Credentials | None:
    origin = f"{path} ({key})"
    if entry.identitytoken:
        return Credentials("", "", entry.identitytoken, origin)
    if entry.auth:
        try:
            text = base64.b64decode(entry.auth, validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise InvalidConfigurationError(f"{origin}: auth is not Base64: {error}") from error
        username, colon, password = text.partition(":")
        if not colon:
            raise InvalidConfigurationError(f"{origin}: auth has no user name and password")
        # Docker pads the text with NUL bytes.
        return Credentials(username, password.rstrip("\0"), "", origin)
    if entry.username and entry.password:
        return Credentials(entry.username, entry.password, "", origin)
    return None


def _read(path: Path) -> _AuthFile | None:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE:
        raise InvalidConfigurationError(f"{path} has more than {_MAX_FILE} bytes")
    try:
        return _AuthFile.model_validate(json.loads(data) if data.strip() else {})
    except ValidationError as error:
        # The values are secrets: neither these words nor a traceback shows them.
        raise InvalidConfigurationError(f"{path}: {in_words(error)}") from None
    except (ValueError, RecursionError):
        raise InvalidConfigurationError(f"{path} is not JSON") from None
