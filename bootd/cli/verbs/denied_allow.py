"""``bootctl-py denied allow``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import ask
from bootd.cli.documents import DoneDocument
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "digest", metavar="DIGEST", help="as 'bootctl-py denied list' prints it: sha256:…"
    )


def run(arguments: Namespace, output: Output) -> int:
    """Take a digest off the deny list."""
    ask(arguments, "Allow", arguments.digest)
    message = f"{arguments.digest} may be tried again."
    output.show(DoneDocument(verb=arguments.verb, message=message))
    return 0
