"""The one gateway to other programs: bounded in time and output, no shell, a fixed locale."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from bootd.model.errors import ProcessFailedError

_log = logging.getLogger(__name__)

DEFAULT_TIMEOUT: Final = 60.0
_SHOWN_STDERR: Final = 2_000


def run(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    stdin: bytes = b"",
    timeout: float = DEFAULT_TIMEOUT,
    expected: Sequence[int] = (0,),
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and return its output.

    Args:
        arguments: the program, looked up in PATH, and its arguments.
        stdin: all it reads.
        timeout: seconds after which it is killed.
        expected: exit statuses that are not failures.

    Raises:
        ProcessFailedError: it could not be started, ran too long or ended otherwise.
    """
    words = [os.fspath(argument) for argument in arguments]
    _log.debug("running %s", words)
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError as error:
        raise ProcessFailedError(
            f"{words[0]} is not installed", hint=f"Install the package that has {words[0]}."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ProcessFailedError(f"{words[0]} did not end within {timeout:g} s") from error
    except OSError as error:
        raise ProcessFailedError(f"{words[0]} could not be started: {error}") from error
    if done.returncode not in expected:
        said = done.stderr[-_SHOWN_STDERR:].decode(errors="replace").strip()
        raise ProcessFailedError(f"{words[0]} ended with status {done.returncode}: {said}")
    return done


def feed(
    arguments: Sequence[str], text: bytes, environment: Mapping[str, str] | None = None
) -> None:
    """Give a text to a program that shares this one's terminal, a pager, and wait for its end.

    Raises:
        ProcessFailedError: it could not be started.
    """
    try:
        subprocess.run(
            arguments, input=text, check=False, env={**os.environ, **(environment or {})}
        )
    except OSError as error:
        raise ProcessFailedError(f"{arguments[0]} could not be started: {error}") from error
