"""Where the settings come from: one main file and drop-ins (UAPI.6 Configuration Files).

For ``bootd.toml`` and, separately, for each base name in ``bootd.toml.d``: ``/etc`` beats ``/run``
beats ``/usr/lib``, and an empty file or a link to ``/dev/null`` masks the ones below it. Drop-ins
are applied in the order of their base names, wherever they are, after the main file; a later value
replaces an earlier one whole. A masked main file does not mask the drop-ins.

A key that nobody knows is warned about and otherwise ignored, so that an older bootd, rolled back
to, can live with a newer one's file.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from bootd.model.config import Configuration
from bootd.model.errors import InvalidConfigurationError

TREES: Final = ("usr/lib", "run", "etc")
"""From the weakest to the strongest."""
MAIN_FILE: Final = "bootd/bootd.toml"
DROP_IN_FOLDER: Final = "bootd/bootd.toml.d"
DROP_IN_SUFFIX: Final = ".toml"

_MAX_FILE: Final = 65_536
_MAX_DROP_INS: Final = 1_000
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class LoadedConfiguration:
    """The settings and where they are from.

    Attributes:
        configuration: the values.
        origins: for each key that a file sets, that file as the machine sees it; what is not in
            here has its default.
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
    files = _applied_files(root)
    for path in files:
        shown = _shown(root, path)
        for key, value in _parse(path, shown).items():
            if key in Configuration.model_fields:
                values[key] = value
                origins[key] = shown
            else:
                warnings.append(_unknown_key(shown, key))
    return LoadedConfiguration(
        configuration=_validate(values, origins),
        origins=origins,
        warnings=tuple(warnings),
        files=tuple(_shown(root, path) for path in files),
    )


def _applied_files(root: Path) -> list[Path]:
    """Return the files that count, the weakest first; masked ones are left out."""
    main = [path for tree in TREES if _is_there(path := root / tree / MAIN_FILE)]
    drop_ins: dict[str, Path] = {}
    for tree in TREES:
        drop_ins.update(_drop_ins(root / tree / DROP_IN_FOLDER))
    chosen = [*main[-1:], *(drop_ins[name] for name in sorted(drop_ins))]
    if len(chosen) > _MAX_DROP_INS:
        raise InvalidConfigurationError(f"there are {len(chosen)} files in bootd.toml.d")
    return [path for path in chosen if not _is_mask(path)]


def _drop_ins(folder: Path) -> dict[str, Path]:
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InvalidConfigurationError(f"{folder} cannot be read: {error.strerror}") from error
    return {
        path.name: path
        for path in paths
        if path.name.endswith(DROP_IN_SUFFIX) and not path.name.startswith(".") and _is_there(path)
    }


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
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidConfigurationError(f"{shown} is not TOML: {error}") from error


def _validate(values: dict[str, Any], origins: dict[str, str]) -> Configuration:
    try:
        return Configuration.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        found = repr(values[key])[:_SHOWN]
        raise InvalidConfigurationError(
            f"{origins[key]}: {key} = {found}: {first['msg']}"
        ) from error


def _unknown_key(shown: str, key: str) -> str:
    near = get_close_matches(key[:_SHOWN], Configuration.model_fields, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"{shown}: the key {key[:_SHOWN]!r} is not known and ignored{guess}"


def _shown(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root)}"
