"""``bootctl-py etc preview``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import add_no_wait, run_job_or_none
from bootd.cli.etc_paths import add_full, add_without_daemon
from bootd.cli.output import Output
from bootd.startup import later

with later():
    from bootd.cli import offline
    from bootd.operations import etc_preview


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "digest",
        metavar="DIGEST",
        nargs="?",
        help="the image that would come, as 'check' names it; it is fetched, not staged. The "
        "staged one if not given",
    )
    add_full(parser, "list all that changes, on a terminal too")
    add_without_daemon(parser)
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Merge /etc on trial."""
    options = {"digest": arguments.digest} if arguments.digest else {}
    document = run_job_or_none(arguments, output, "PreviewEtc", **options)
    document = document or offline.do(arguments, output, etc_preview.preview, **options)
    output.show(document, full=arguments.full or None)
    return 0
