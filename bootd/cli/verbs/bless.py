"""``bootctl-py bless``: what ``bootd-bless.service`` runs after boot, without the daemon."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import Final

from bootd import journal
from bootd.boot.loader.next_boot import loader_counted
from bootd.cli.documents import DoneDocument
from bootd.cli.offline import host, look, mounted, root
from bootd.cli.output import Output
from bootd.daemon.events.news import tell_of_blessing
from bootd.model.errors import (
    BootdError,
    NoBootPartitionError,
    NotBlessedYetError,
    UnhealthyError,
)
from bootd.operations.bless import bless, leave_undecided, remember_blessing
from bootd.operations.trial.health import soak

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
    try:
        message = _leave_undecided(arguments) if arguments.undecided else _bless(arguments)
    except (UnhealthyError, NotBlessedYetError):
        raise
    except BootdError as error:
        # Only a check that failed is a verdict on the image; the unit tells by the exit status.
        raise NotBlessedYetError(error.message) from error
    output.show(DoneDocument(verb=arguments.verb, message=message))
    return 0


def _bless(arguments: Namespace) -> str:
    if arguments.soak:
        soak(host(arguments), root(arguments), look(arguments))
    try:
        with mounted(arguments) as machine:
            blessed = bless(machine)
    except NoBootPartitionError:
        sysroot = host(arguments).sysroot
        if (booted := sysroot.booted()) is not None and loader_counted(sysroot):
            remember_blessing(sysroot, booted)
        raise
    if blessed is None:
        return "Nothing was on trial."
    journal.set_up_events()
    tell_of_blessing(blessed)
    return f"{blessed} is kept for good."


def _leave_undecided(arguments: Namespace) -> str:
    if os.environ.get(_SERVICE_RESULT, "success") != "success":
        return "This boot failed, and its try is used up."
    with mounted(arguments) as machine:
        returned = leave_undecided(machine)
    return "No try is given back." if returned is None else f"{returned} gets its try back."
