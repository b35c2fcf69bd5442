"""``bootctl-py bless``: what ``bootd-bless.service`` runs after boot, without the daemon."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.documents import DoneDocument
from bootd.cli.offline import host
from bootd.cli.output import Output
from bootd.operations.bless import bless


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options; there are none."""


def run(arguments: Namespace, output: Output) -> int:
    """Take the counter off the booted deployment's entry."""
    blessed = bless(host(arguments))
    message = "Nothing was on trial." if blessed is None else f"{blessed} is kept for good."
    output.show(DoneDocument(verb=arguments.verb, message=message))
    return 0
