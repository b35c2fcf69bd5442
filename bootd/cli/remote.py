"""``-H``: the same command line on another machine, over ssh, as systemd's tools do it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

from bootd.model.errors import InvalidArgumentError, ProcessFailedError


def ssh_command(host: str, words: Sequence[str], *, terminal: bool) -> list[str]:
    """Return what to run to have ``bootctl-py`` run with `words` on a host.

    Raises:
        InvalidArgumentError: the host would be taken for an option.
    """
    if not host or host.startswith("-"):
        raise InvalidArgumentError(f"{host!r} is not a host", hint="Write it as HOST or USER@HOST.")
    remote = shlex.join(["bootctl-py", *words])
    return ["ssh", *(["-t"] if terminal else []), "--", host, remote]


def run_on(host: str, words: Sequence[str]) -> NoReturn:
    """Become ssh; its exit status is the remote ``bootctl-py``'s, or 255.

    A terminal is handed on, so that the bar, colours and Ctrl-C work as they do here.

    Raises:
        InvalidArgumentError: the host would be taken for an option.
        ProcessFailedError: there is no ssh.
    """
    command = ssh_command(host, words, terminal=sys.stdin.isatty() and sys.stdout.isatty())
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted here
    except OSError as error:
        raise ProcessFailedError(
            f"ssh could not be started: {error.strerror}",
            hint="Install the package openssh-client.",
        ) from error
