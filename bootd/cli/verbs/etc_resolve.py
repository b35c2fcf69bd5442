"""``bootctl-py etc resolve``; with ``edit`` the text goes through an editor here and back."""

from __future__ import annotations

import base64
import os
from argparse import ArgumentParser, Namespace
from typing import Any, Final

from bootd import process
from bootd.cli.etc_change import add_change, change
from bootd.cli.etc_paths import absolute
from bootd.cli.look import look
from bootd.cli.output import Output
from bootd.model.errors import DaemonUnreachableError, InvalidArgumentError

_MARKS: Final = (b"<<<<<<< ", b"||||||| ", b">>>>>>> ")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="where both sides disagree; a folder with all that is in it, or a pattern such as "
        "'/etc/ssh/**', in quotes",
    )
    parser.add_argument(
        "choice",
        choices=("mine", "theirs", "edit"),
        help="mine leaves what stands, theirs takes what the image ships, edit opens both in an "
        "editor (VISUAL, EDITOR, else editor or vi)",
    )
    add_change(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Decide conflicts, all that are named or none."""
    first, *also = (absolute(path) for path in arguments.paths)
    options: dict[str, Any] = {"also": also} if also else {}
    if arguments.choice == "edit":
        if also:
            raise InvalidArgumentError("one path at a time is edited", hint="Name one.")
        options["content"] = base64.b64encode(_edited(arguments, first)).decode()
    given = {"path": first, "choice": arguments.choice}
    return change(arguments, output, "ResolveEtc", given, **options)


def _edited(arguments: Namespace, path: str) -> bytes:
    """Return the text as the person leaves it.

    Raises:
        InvalidArgumentError: marks are still in it.
        ProcessFailedError: the editor failed; nothing was changed.
    """
    try:
        found = look(arguments, "GetEtcVersions", path)
    except DaemonUnreachableError:
        if os.geteuid() != 0:
            raise
        arguments.offline = True
        found = look(arguments, "GetEtcVersions", path)
    text = process.edit(base64.b64decode(found["marked"]), path.rpartition("/")[2])
    if any(line.startswith(_MARKS) for line in text.splitlines()):
        raise InvalidArgumentError(
            f"the marks of both versions are still in {path}; nothing was changed",
            hint="Leave the lines that are to stand, and take the marks out.",
        )
    return text
