"""The last configuration that could be used, kept in the store for when the files cannot be.

A typing error in bootd.toml must not take ``rollback`` away from the person at a broken machine,
nor the nightly upgrade from a machine that nobody looks at.
"""

from __future__ import annotations

import logging
from typing import Final

from bootd.configuration import as_json, from_json
from bootd.durable import storage_errors
from bootd.model.config import Automatic, Configuration
from bootd.model.errors import BootdError, InvalidConfigurationError
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

_FILE_NAME: Final = "configuration.json"
_MAX_BYTES: Final = 1 << 20
_MODE: Final = 0o600
"""A proxy's password may stand in it."""


def keep_configuration(sysroot: Sysroot, configuration: Configuration) -> None:
    """Keep a configuration that could be used; nothing is written where it is kept already.

    Raises:
        WriteFailedError, NoSpaceError: the kernel refused.
    """
    data = as_json(configuration)
    if sysroot.store.is_dir() and _read(sysroot) != data:
        sysroot.disk.replace_file(sysroot.store / _FILE_NAME, data, _MODE)


def instead_of(sysroot: Sysroot, error: InvalidConfigurationError) -> tuple[Configuration, str]:
    """Return the configuration that is in force where the files cannot be used, and what to say.

    Where none was kept, these are the defaults, but nothing is upgraded automatically: the files
    may say so.
    """
    try:
        data = _read(sysroot)
        if data is not None:
            kept = from_json(data)
            return (
                kept,
                f"{error.message}; the last configuration that could be used stays in force",
            )
    except BootdError as damage:
        _log.warning("the configuration that was kept cannot be used: %s", damage.message)
    return (
        Configuration(automatic=Automatic.OFF),
        f"{error.message}; the defaults are in force, and nothing is upgraded automatically",
    )


def _read(sysroot: Sysroot) -> bytes | None:
    path = sysroot.store / _FILE_NAME
    with storage_errors("read", path):
        try:
            with path.open("rb") as stream:
                return stream.read(_MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
