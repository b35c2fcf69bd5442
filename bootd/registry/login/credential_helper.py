"""Credential helpers: programs ``docker-credential-NAME`` that know passwords, Docker's protocol.

Source: docker/docker-credential-helpers, "Development": ``get``, the server on standard input, JSON
on standard output.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bootd import process
from bootd.model.errors import InvalidConfigurationError, ProcessFailedError

PROGRAM_PREFIX: Final = "docker-credential-"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_MAX_ANSWER: Final = 1 << 20
_SHOWN: Final = 300
_IDENTITY_USER: Final = "<token>"


def is_any_installed() -> bool:
    """Return whether there is a program that may be a helper; what it needs to run nobody knows."""
    for folder in os.get_exec_path():
        with suppress(OSError):
            if any(path.name.startswith(PROGRAM_PREFIX) for path in Path(folder).iterdir()):
                return True
    return False


def ask_helper(
    name: str, server: str, named_by: str, environment: Mapping[str, str]
) -> tuple[str, str, str] | None:
    """Ask a helper; return user name, password and identity token, or None where it knows nothing.

    Either the first two are empty or the last is.

    Args:
        name: the helper's, without ``docker-credential-``.
        server: the registry, as the helper knows it.
        named_by: the file that names the helper, and the key in it, for messages.
        environment: what is put over this process's own environment.

    Raises:
        InvalidConfigurationError: that is no name of a helper.
        ProcessFailedError: it is not installed, or failed.
    """
    if not _NAME.fullmatch(name):
        raise InvalidConfigurationError(
            f"{named_by}: {name[:100]!r} is not a credential helper's name"
        )
    program = f"{PROGRAM_PREFIX}{name}"
    try:
        done = process.run(
            [program, "get"], stdin=server.encode(), expected=(0, 1), environment=environment
        )
    except ProcessFailedError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise ProcessFailedError(
            f"{named_by} names {program}, which is not installed",
            hint=f"Install the package that has it, or take {name!r} out of that file.",
        ) from error
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if "credentials not found" in said:
            return None
        raise ProcessFailedError(
            f"{program}, which {named_by} names, has no credentials for {server}: {said[:_SHOWN]}"
        )
    return _parsed(done.stdout, f"{program}, which {named_by} names,")


def _parsed(data: bytes, who: str) -> tuple[str, str, str] | None:
    try:
        answer: Any = json.loads(data[:_MAX_ANSWER])
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise ProcessFailedError(f"{who} gave an answer that cannot be read") from error
    if not (isinstance(username, str) and isinstance(secret, str)):
        raise ProcessFailedError(f"{who} gave an answer that cannot be read")
    if username == _IDENTITY_USER:
        return "", "", secret
    # A helper for one cloud is asked about every registry, and some answer with nothing.
    return (username, secret, "") if username or secret else None
