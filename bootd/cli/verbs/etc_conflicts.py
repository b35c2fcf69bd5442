"""``bootctl-py etc conflicts``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.etc_paths import add_full, add_paths, chosen
from bootd.cli.look import add_offline, look
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_paths(parser)
    add_full(parser, "show what each side made of each file, too, and however many there are")
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Show which changes in /etc clashed."""
    output.show(look(arguments, "EtcConflicts", **chosen(arguments)), full=arguments.full)
    return 0
