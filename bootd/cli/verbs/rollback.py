"""``bootctl-py rollback``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import add_no_wait, run_job
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "deployment",
        metavar="DEPLOYMENT",
        nargs="?",
        help="where to go; the one that 'status' calls rollback if not given",
    )
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Make an older deployment boot next."""
    options = {"deployment": arguments.deployment} if arguments.deployment else {}
    document = run_job(arguments, output, "Rollback", **options)
    output.show(document)
    if document.get("kind") == "Rollback":
        output.note("'bootctl-py apply' restarts into it now.")
    return 0
