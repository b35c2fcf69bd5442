"""Where signatures lie: containers-registries.d(5).

The folder says for each registry, repository or image whether sigstore signatures are looked for
beside it, and where simple signatures are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from bootd.durable import storage_errors
from bootd.model.errors import InvalidConfigurationError
from bootd.trust.scopes import Scopes

FOLDER: Final = "etc/containers/registries.d"
DEFAULT_LOOKASIDE: Final = "file:///var/lib/containers/sigstore"
_MAX_FILES: Final = 1_000
_MAX_SIZE: Final = 1 << 20
_TEXTS: Final = ("lookaside", "sigstore", "lookaside-staging", "sigstore-staging")
_ATTACHMENTS: Final = "use-sigstore-attachments"


@dataclass(frozen=True, slots=True)
class Places:
    """Where signatures of images lie.

    Attributes:
        default: what holds for images that nothing else names.
        scopes: what holds for a registry, a repository or an image.
    """

    default: Mapping[str, Any]
    scopes: Mapping[str, Mapping[str, Any]]

    def lookaside(self, scopes: Scopes) -> str:
        """Return the URL below which simple signatures of an image lie."""
        for section in self._sections(scopes):
            told = section.get("lookaside") or section.get("sigstore")
            if told:
                return str(told)
        return DEFAULT_LOOKASIDE

    def beside(self, scopes: Scopes) -> bool:
        """Return whether sigstore signatures are looked for beside an image."""
        for section in self._sections(scopes):
            if section.get(_ATTACHMENTS) is not None:
                return bool(section[_ATTACHMENTS])
        return False

    def _sections(self, scopes: Scopes) -> list[Mapping[str, Any]]:
        named = [self.scopes[name] for name in scopes.names if name in self.scopes]
        return [*named, self.default]


def load_places(root: Path) -> Places:
    """Return what the files of ``/etc/containers/registries.d`` say together.

    Args:
        root: the folder that stands for ``/``.

    Raises:
        InvalidConfigurationError: one cannot be understood, or two speak of the same.
        WriteFailedError: one cannot be read.
    """
    folder = root / FOLDER
    default: Mapping[str, Any] | None = None
    scopes: dict[str, Mapping[str, Any]] = {}
    for path in _files(folder):
        document = _document(path)
        if document.get("default-docker") is not None:
            if default is not None:
                raise _wrong(path, "default-docker stands in another file, too")
            default = _section(path, document["default-docker"])
        for scope, section in (document.get("docker") or {}).items():
            if scope in scopes:
                raise _wrong(path, f"{str(scope)[:200]} stands in another file, too")
            scopes[str(scope)] = _section(path, section)
    return Places(default or {}, scopes)


def _files(folder: Path) -> list[Path]:
    with storage_errors("read", folder):
        try:
            names = sorted(path for path in folder.iterdir() if path.suffix == ".yaml")
        except FileNotFoundError:
            return []
    if len(names) > _MAX_FILES:
        raise _wrong(folder, f"it has more than {_MAX_FILES} files")
    return names


def _document(path: Path) -> dict[str, Any]:
    with storage_errors("read", path), path.open("rb") as stream:
        data = stream.read(_MAX_SIZE + 1)
    if len(data) > _MAX_SIZE:
        raise _wrong(path, f"it has more than {_MAX_SIZE} bytes")
    try:
        value = yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _wrong(path, str(error).replace("\n", " ")[:200]) from error
    value = {} if value is None else value
    if not isinstance(value, dict) or not isinstance(value.get("docker") or {}, dict):
        raise _wrong(path, "docker is not a mapping")
    return value


def _section(path: Path, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(path, "a section is not a mapping")
    for key in _TEXTS:
        if not isinstance(value.get(key, ""), str):
            raise _wrong(path, f"{key} is not a text")
    if not isinstance(value.get(_ATTACHMENTS), bool | None):
        raise _wrong(path, f"{_ATTACHMENTS} is neither true nor false")
    return value


def _wrong(path: Path, why: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(
        f"{path}: {why}", hint="containers-registries.d(5) describes these files."
    )
