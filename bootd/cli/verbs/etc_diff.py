"""``bootctl-py etc diff``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.etc_paths import add_full, add_paths, chosen
from bootd.cli.look import add_offline, look
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_paths(parser)
    add_full(parser, "list all, on a terminal too")
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Show what this machine changed in /etc."""
    output.show(look(arguments, "EtcDiff", **chosen(arguments)), full=arguments.full or None)
    return 0
