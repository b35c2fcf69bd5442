"""Where the settings come from: one main file and drop-ins (UAPI.6 Configuration Files).

For ``bootd.toml`` and, separately, for each base name in ``bootd.toml.d``: ``/etc`` beats ``/run``
beats ``/usr/lib``, and an empty file or a link to ``/dev/null`` masks the ones below it. Drop-ins
are applied in the order of their base names, wherever they are, after the main file; a later value
replaces an earlier one whole, but a table is added to key by key. A masked main file does not mask
the drop-ins.

A key that nobody knows is warned about and otherwise ignored, so that an older bootd, rolled back
to, can live with a newer one's file.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, cast

from pydantic import BaseModel, ValidationError

from bootd.model.config import Configuration
from bootd.model.errors import InvalidConfigurationError
from bootd.model.registry.userinfo import without_userinfo
from bootd.model.validation import first_error

TREES: Final = ("usr/lib", "run", "etc")
"""From the weakest to the strongest."""
MAIN_FILE: Final = "bootd/bootd.toml"
DROP_IN_FOLDER: Final = "bootd/bootd.toml.d"
DROP_IN_SUFFIX: Final = ".toml"

_MAX_FILE: Final = 65_536
_MAX_DROP_INS: Final = 1_000
_SHOWN: Final = 100
_LEFT_OVER: Final = re.compile(
    r".*(~|\.(bak|orig|old|swp|save|disabled|dpkg-\w+|ucf-\w+|rpm\w+|bootd-new))|README.*",
    re.DOTALL,
)
"""Names that editors and package managers leave, or that say that a file is not to be read."""


@dataclass(frozen=True, slots=True)
class LoadedConfiguration:
    """The settings and where they are from.

    Attributes:
        configuration: the values.
        origins: for each key that a file sets, that file as the machine sees it; what is not in
            here has its default. A key inside a table is written with its table, with dots.
        warnings: what was ignored, a sentence each.
        files: every file that was applied, in order.
    """

    configuration: Configuration
    origins: dict[str, str]
    warnings: tuple[str, ...]
    files: tuple[str, ...]


def load(root: Path) -> LoadedConfiguration:
    """Read the settings of the machine whose root folder is given.

    Raises:
        InvalidConfigurationError: a file cannot be read or is not TOML, or a value is of a wrong
            type or out of bounds; the file and the key are named.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    warnings: list[str] = []
    files = _applied_files(root, warnings)
    for path in files:
        shown = _shown(root, path)
        known = _known(Configuration, _parse(path, shown), shown, warnings)
        _add(values, known, "", shown, origins)
    return LoadedConfiguration(
        configuration=_validate(values, origins),
        origins=origins,
        warnings=tuple(warnings),
        files=tuple(_shown(root, path) for path in files),
    )


def as_json(configuration: Configuration) -> bytes:
    """Return what the files said, as one JSON document."""
    return configuration.model_dump_json(exclude_unset=True, indent=2).encode() + b"\n"


def from_json(data: bytes) -> Configuration:
    """Return the configuration of a document that `as_json` made, maybe in a newer bootd.

    Raises:
        InvalidConfigurationError: it is no such document.
    """
    try:
        known = _known(Configuration, json.loads(data), "it", [])
        return Configuration.model_validate_json(json.dumps(known))
    except (ValueError, AttributeError, RecursionError) as error:
        raise InvalidConfigurationError(f"it is damaged: {error}") from error


def _known(
    model: type[BaseModel], values: dict[str, Any], shown: str, warnings: list[str], table: str = ""
) -> dict[str, Any]:
    """Return what of a table is known, and warn about the rest."""
    kept = {}
    for key, value in values.items():
        field = model.model_fields.get(key)
        if field is None:
            warnings.append(_unknown_key(model, shown, table, key))
            continue
        below = field.annotation
        if isinstance(value, dict) and isinstance(below, type) and issubclass(below, BaseModel):
            value = _known(below, value, shown, warnings, f"{table}{key}.")  # noqa: PLW2901
        kept[key] = value
    return kept


def _add(
    values: dict[str, Any], found: dict[str, Any], table: str, shown: str, origins: dict[str, str]
) -> None:
    """Put a file's values over those before; a table is added to, all else replaced."""
    for key, value in found.items():
        name = f"{table}{key}"
        if isinstance(value, dict) and isinstance(values.setdefault(key, {}), dict):
            _add(values[key], value, f"{name}.", shown, origins)
        else:
            values[key] = value
        origins[name] = shown


def _applied_files(root: Path, warnings: list[str]) -> list[Path]:
    """Return the files that count, the weakest first; masked ones are left out."""
    main = [path for tree in TREES if _is_there(path := root / tree / MAIN_FILE)]
    drop_ins: dict[str, Path] = {}
    for tree in TREES:
        files = _drop_ins(root / tree / DROP_IN_FOLDER)
        drop_ins.update({path.name: path for path in files if path.suffix == DROP_IN_SUFFIX})
        warnings += [
            f"{_shown(root, path)} is not read: the names of files there end in {DROP_IN_SUFFIX}"
            for path in files
            if path.suffix != DROP_IN_SUFFIX and not _LEFT_OVER.fullmatch(path.name)
        ]
    chosen = [*main[-1:], *(drop_ins[name] for name in sorted(drop_ins))]
    if len(chosen) > _MAX_DROP_INS:
        raise InvalidConfigurationError(f"there are {len(chosen)} files in bootd.toml.d")
    return [path for path in chosen if not _is_mask(path)]


def _drop_ins(folder: Path) -> list[Path]:
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InvalidConfigurationError(f"{folder} cannot be read: {error.strerror}") from error
    return sorted(path for path in paths if not path.name.startswith(".") and _is_there(path))


def _is_there(path: Path) -> bool:
    """Tell whether there is a file or a link of that name; a folder is neither."""
    return path.is_symlink() or path.is_file()


def _is_mask(path: Path) -> bool:
    if path.is_symlink() and path.readlink() == Path(os.devnull):
        return True
    try:
        return path.stat().st_size == 0
    except OSError as error:
        raise InvalidConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def _parse(path: Path, shown: str) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_FILE + 1)
    except OSError as error:
        raise InvalidConfigurationError(f"{shown} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE:
        raise InvalidConfigurationError(f"{shown} has more than {_MAX_FILE} bytes")
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidConfigurationError(f"{shown} is not TOML: {error}") from error


def _validate(values: dict[str, Any], origins: dict[str, str]) -> Configuration:
    try:
        return Configuration.model_validate(values)
    except ValidationError as error:
        first = first_error(error)
        key, found = "", cast("Any", values)
        for part in first["loc"]:
            # Below a list there is no origin of its own, and what pydantic adds is no key.
            if not isinstance(found, dict) or part not in found:
                break
            key, found = f"{key}.{part}".lstrip("."), found[part]
        raise InvalidConfigurationError(
            f"{origins[key]}: {key}{_shown_value(found)}: {first['msg']}"
        ) from None


def _shown_value(value: Any) -> str:
    # What concerns a whole table is no single value's fault.
    return "" if isinstance(value, dict) else f" = {without_userinfo(repr(value))[:_SHOWN]}"


def _unknown_key(model: type[BaseModel], shown: str, table: str, key: str) -> str:
    near = get_close_matches(key[:_SHOWN], model.model_fields, n=1)
    guess = f"; did you mean {table + near[0]!r}?" if near else ""
    return f"{shown}: the key {table + key[:_SHOWN]!r} is not known and ignored{guess}"


def _shown(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root)}"
