"""``bootctl-py etc preview``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import add_no_wait, run_job
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Merge /etc on trial."""
    output.show(run_job(arguments, output, "PreviewEtc"))
    return 0
