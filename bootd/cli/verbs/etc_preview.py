"""``bootctl-py etc preview``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import add_no_wait, run_job
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "digest",
        metavar="DIGEST",
        nargs="?",
        help="the image that would come, as 'check' names it; it is fetched, not staged. The "
        "staged one if not given",
    )
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Merge /etc on trial."""
    options = {"digest": arguments.digest} if arguments.digest else {}
    output.show(run_job(arguments, output, "PreviewEtc", **options))
    return 0
