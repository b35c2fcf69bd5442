"""``bootctl-py denied list``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.look import add_offline, look
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Show what failed here."""
    output.show(look(arguments, "ListDenied"))
    return 0
