"""``bootctl-py cleanup``; with ``--offline`` it needs no daemon."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import add_no_wait, run_job
from bootd.cli.look import add_offline, look
from bootd.cli.output import Output
from bootd.startup import later

with later():
    from bootd.cli import offline
    from bootd.operations import collect


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--boot",
        action="store_true",
        help="only tell what is on the boot partition, and what would be freed there",
    )
    add_offline(parser)
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Remove what nothing needs, or tell of it."""
    if arguments.boot:
        document = look(arguments, "GetBootUsage")
    elif arguments.offline or arguments.sysroot is not None:
        document = offline.do(arguments, output, collect.collect)
    else:
        document = run_job(arguments, output, "Cleanup")
    output.show(document)
    return 0
