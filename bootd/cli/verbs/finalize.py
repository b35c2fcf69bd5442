"""``bootctl-py finalize``: what ``bootd-finalize.service`` runs at shutdown, without the daemon."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd import journal
from bootd.cli.offline import OperationProgress, mounted, tell_of
from bootd.cli.output import Output
from bootd.cli.screen.progress import displayed
from bootd.daemon.events.news import tell_of_failed_finalize
from bootd.model.errors import BootdError
from bootd.operations.finalize import finalize
from bootd.operations.jobs.table import FINALIZE


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options; there are none."""


def run(arguments: Namespace, output: Output) -> int:
    """Make the staged deployment boot next."""
    with displayed(output) as display, mounted(arguments) as machine:
        try:
            document = finalize(machine, OperationProgress(display))
        except BootdError as error:
            if machine.sysroot.read_intent().staged is not None:
                journal.set_up_events()
                tell_of_failed_finalize(error.message)
            raise
    tell_of(FINALIZE, document)
    output.show(document)
    return 0
