"""``bootctl-py etc resolve``; with ``edit`` the text goes through an editor here and back."""

from __future__ import annotations

import base64
import json
from argparse import ArgumentParser, Namespace
from typing import Final

from bootd import process
from bootd.cli.daemon import add_no_wait, ask, run_job
from bootd.cli.etc_paths import absolute, explain_undo
from bootd.cli.output import Output
from bootd.model.errors import InvalidArgumentError

_MARKS: Final = (b"<<<<<<< ", b"||||||| ", b">>>>>>> ")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("path", metavar="PATH", help="where both sides disagree")
    parser.add_argument(
        "choice",
        choices=("mine", "theirs", "edit"),
        help="mine leaves what stands, theirs takes what the image ships, edit opens both in an "
        "editor (VISUAL, EDITOR, else editor or vi)",
    )
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Decide a conflict."""
    path = absolute(arguments.path)
    options = {}
    if arguments.choice == "edit":
        options["content"] = base64.b64encode(_edited(arguments, path)).decode()
    document = run_job(arguments, output, "ResolveEtc", path, arguments.choice, **options)
    output.show(document)
    explain_undo(document, output)
    return 0


def _edited(arguments: Namespace, path: str) -> bytes:
    """Return the text as the person leaves it.

    Raises:
        InvalidArgumentError: marks are still in it.
        ProcessFailedError: the editor failed; nothing was changed.
    """
    found = json.loads(ask(arguments, "GetEtcVersions", path))
    text = process.edit(base64.b64decode(found["marked"]), path.rpartition("/")[2])
    if any(line.startswith(_MARKS) for line in text.splitlines()):
        raise InvalidArgumentError(
            f"the marks of both versions are still in {path}; nothing was changed",
            hint="Leave the lines that are to stand, and take the marks out.",
        )
    return text
