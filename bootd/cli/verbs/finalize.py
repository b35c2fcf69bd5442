"""``bootctl-py finalize``: what ``bootd-finalize.service`` runs at shutdown, without the daemon."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.offline import OperationProgress, mounted
from bootd.cli.output import Output
from bootd.cli.progress import displayed
from bootd.operations.finalize import finalize


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options; there are none."""


def run(arguments: Namespace, output: Output) -> int:
    """Make the staged deployment boot next."""
    with displayed(output) as display, mounted(arguments) as machine:
        document = finalize(machine, OperationProgress(display))
    output.show(document)
    return 0
