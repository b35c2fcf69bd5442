"""``bootctl-py cancel``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli import daemon
from bootd.cli.documents import DoneDocument
from bootd.cli.output import Output
from bootd.daemon.dbus.names import JOBS


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "job", metavar="JOB", type=int, help="a number as 'bootctl-py jobs' lists them"
    )


def run(arguments: Namespace, output: Output) -> int:
    """Cancel a job."""
    daemon.cancel(arguments, f"{JOBS}{arguments.job}")
    message = f"Job {arguments.job} was asked to end."
    output.show(DoneDocument(verb=arguments.verb, message=message))
    return 0
