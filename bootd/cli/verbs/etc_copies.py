"""``bootctl-py etc copies``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.look import add_offline, look
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """List the copies of files of /etc that are kept."""
    output.show(look(arguments, "ListEtcCopies"))
    return 0
