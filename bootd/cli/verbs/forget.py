"""``bootctl-py forget``; with ``--offline`` it needs no daemon, for a rescue shell without room."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import add_no_wait, run_job
from bootd.cli.look import add_offline
from bootd.cli.output import Output
from bootd.startup import later

with later():
    from bootd.cli import offline
    from bootd.operations import forget


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "deployment", metavar="DEPLOYMENT", help="an ID as 'bootctl-py deployments' lists them"
    )
    add_offline(parser)
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Drop a deployment."""
    if arguments.offline or arguments.sysroot is not None:
        document = offline.do(arguments, output, forget.forget, deployment=arguments.deployment)
    else:
        document = run_job(arguments, output, "Forget", arguments.deployment)
    output.show(document)
    return 0
