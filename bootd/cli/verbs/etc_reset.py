"""``bootctl-py etc reset``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.etc_change import add_change, change
from bootd.cli.etc_paths import absolute
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="what to put back; a folder with all that is in it",
    )
    add_change(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Put paths back to what the image ships."""
    paths = [absolute(path) for path in arguments.paths]
    return change(arguments, output, "ResetEtc", {"paths": paths})
