"""``bootctl-py etc restore``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.etc_change import add_change, change
from bootd.cli.etc_paths import absolute
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("copy", metavar="COPY", help="a name that 'etc copies' lists")
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="only this, with all that is in it; everything if not given",
    )
    add_change(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Put what a copy holds back into /etc."""
    paths = [absolute(path) for path in arguments.paths]
    return change(arguments, output, "RestoreEtc", {"copy": arguments.copy, "paths": paths})
