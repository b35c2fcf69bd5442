"""``bootctl-py switch``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import add_no_wait, run_job
from bootd.cli.output import Output
from bootd.cli.verbs.upgrade import finish


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        help="the image: registry.example/name:tag, name@sha256:…, oci:DIR or oci-archive:FILE",
    )
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Follow another image, and stage it."""
    finish(run_job(arguments, output, "Switch", arguments.reference), output)
    return 0
