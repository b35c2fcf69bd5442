"""``bootctl-py history``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.look import add_offline, look
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Show what became of looking for an update."""
    output.show(look(arguments, "GetHistory"))
    return 0
