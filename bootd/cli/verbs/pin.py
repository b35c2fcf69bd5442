"""``bootctl-py pin`` and ``bootctl-py unpin``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import ask
from bootd.cli.documents import DoneDocument
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "deployment", metavar="DEPLOYMENT", help="an ID as 'bootctl-py deployments' lists them"
    )


def run(arguments: Namespace, output: Output) -> int:
    """Pin or unpin."""
    pinned = arguments.verb == "pin"
    ask(arguments, "Pin" if pinned else "Unpin", arguments.deployment)
    now = "pinned" if pinned else "no longer pinned"
    output.show(DoneDocument(verb=arguments.verb, message=f"{arguments.deployment} is {now}."))
    return 0
