"""``bootctl-py why``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.look import add_offline, look
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Show why the machine is where it is."""
    output.show(look(arguments, "Explain"))
    return 0
