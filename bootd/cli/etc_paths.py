"""Paths of ``/etc`` on the command line, and the options that go with them."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import Any

from bootd.model.etc.report import escape


def absolute(path: str) -> str:
    """Return a path as reports print it; one that is relative starts at the working directory.

    One with a backslash is taken for a path that a report printed.
    """
    whole = os.path.normpath(os.path.join(os.getcwd(), path))  # noqa: PTH109, PTH118 - links stay
    return whole if "\\" in whole else escape(os.fsencode(whole))


def add_paths(parser: ArgumentParser) -> None:
    """Declare paths that a view may be restricted to."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="only this, with all that is in it, or a pattern such as '/etc/ssh/**', in quotes",
    )


def chosen(arguments: Namespace) -> dict[str, Any]:
    """Return the option of the bus, or of the operation, that such paths are."""
    paths = [absolute(path) for path in arguments.paths]
    return {"paths": paths} if paths else {}


def add_full(parser: ArgumentParser, what: str) -> None:
    """Declare ``--full``."""
    parser.add_argument("--full", action="store_true", help=what)


def add_without_daemon(parser: ArgumentParser) -> None:
    """Declare ``--offline`` of a verb that does something."""
    parser.add_argument(
        "--offline",
        action="store_true",
        help="work on the disk, as is done for root anyway where no daemon answers",
    )
