"""``bootctl-py etc reset``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import add_no_wait, run_job
from bootd.cli.etc_paths import absolute, explain_undo
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="what to put back; a folder with all that is in it",
    )
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Put paths back to what the image ships."""
    paths = [absolute(path) for path in arguments.paths]
    document = run_job(arguments, output, "ResetEtc", paths)
    output.show(document)
    explain_undo(document, output)
    return 0
