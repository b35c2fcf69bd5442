"""``bootctl-py etc derive``: what ``bootd-derive.service`` runs at a start, without the daemon."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.offline import host
from bootd.cli.output import Output
from bootd.model.errors import FAILED
from bootd.operations.etc_derive import derive


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--starting",
        action="store_true",
        help="the deployment is being started: leave alone what failed at three starts",
    )


def run(arguments: Namespace, output: Output) -> int:
    """Make them; the exit status is 1 where one could not be made."""
    document = derive(host(arguments), starting=arguments.starting)
    output.show(document)
    return 0 if all(one.passed for one in document.results) else FAILED
