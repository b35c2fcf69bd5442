"""``bootctl-py check``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import add_no_wait, run_job
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Ask the registry."""
    output.show(run_job(arguments, output, "Check"))
    return 0
