"""``bootctl-py trust check``: it needs no daemon, and reads the policy as whoever calls it may."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.output import Output
from bootd.model.errors import REFUSED
from bootd.operations.host import open_host
from bootd.operations.trust_check import trust_check


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        nargs="?",
        help="the image; without it the one that the machine follows",
    )


def run(arguments: Namespace, output: Output) -> int:
    """Judge an image; the exit status is 4 where it is refused."""
    host = open_host(arguments.sysroot)
    document = trust_check(host, arguments.reference or host.followed_image())
    output.show(document)
    return 0 if document.accepted else REFUSED
