"""``bootctl-py bless``: what ``bootd-bless.service`` runs after boot, without the daemon."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import Final

from bootd.cli.documents import DoneDocument
from bootd.cli.offline import mounted, root
from bootd.cli.output import Output
from bootd.operations.bless import bless, leave_undecided
from bootd.operations.health import soak
from bootd.operations.survey import survey

_SERVICE_RESULT: Final = "SERVICE_RESULT"
"""How a unit ended, for its ExecStopPost= (systemd.exec(5))."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--soak",
        action="store_true",
        help="wait for soak_seconds first, and bless only what passes its health checks again",
    )
    parser.add_argument(
        "--undecided",
        action="store_true",
        help="give the try of this boot back instead: it ends before anybody knows how good it is",
    )


def run(arguments: Namespace, output: Output) -> int:
    """Take the counter off the booted deployment's entry."""
    message = _leave_undecided(arguments) if arguments.undecided else _bless(arguments)
    output.show(DoneDocument(verb=arguments.verb, message=message))
    return 0


def _bless(arguments: Namespace) -> str:
    if arguments.soak:
        with mounted(arguments) as machine:
            found = survey(machine.sysroot)
        soak(machine, root(arguments), found)
    with mounted(arguments) as machine:
        blessed = bless(machine)
    return "Nothing was on trial." if blessed is None else f"{blessed} is kept for good."


def _leave_undecided(arguments: Namespace) -> str:
    if os.environ.get(_SERVICE_RESULT, "success") != "success":
        return "This boot failed, and its try is used up."
    with mounted(arguments) as machine:
        returned = leave_undecided(machine)
    return "No try is given back." if returned is None else f"{returned} gets its try back."
