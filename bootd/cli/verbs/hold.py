"""``bootctl-py hold`` and ``bootctl-py release``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import ask
from bootd.cli.documents import DoneDocument
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    if parser.prog.endswith(" hold"):
        parser.add_argument(
            "reason", metavar="REASON", help="who holds them and why; 'status' shows it"
        )


def run(arguments: Namespace, output: Output) -> int:
    """Hold or release automatic upgrades."""
    if arguments.verb == "hold":
        ask(arguments, "Hold", arguments.reason)
        message = "Automatic upgrades are held until 'bootctl-py release'."
    else:
        ask(arguments, "Release")
        message = "Automatic upgrades go on."
    output.show(DoneDocument(verb=arguments.verb, message=message))
    return 0
