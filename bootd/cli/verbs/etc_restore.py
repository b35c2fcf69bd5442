"""``bootctl-py etc restore``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import add_no_wait, run_job
from bootd.cli.etc_paths import absolute, explain_undo
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
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Put what a copy holds back into /etc."""
    paths = [absolute(path) for path in arguments.paths]
    document = run_job(arguments, output, "RestoreEtc", arguments.copy, paths)
    output.show(document)
    explain_undo(document, output)
    return 0
