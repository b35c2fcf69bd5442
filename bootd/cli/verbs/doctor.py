"""``bootctl-py doctor``: it asks no daemon, which may be what is missing."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.output import Output
from bootd.model.errors import FAILED
from bootd.operations.doctor import doctor
from bootd.operations.host import open_host


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options; there are none."""


def run(_arguments: Namespace, output: Output) -> int:
    """Look at this machine; the exit status is 1 where something has to be changed first."""
    document = doctor(open_host(None))
    output.show(document)
    return FAILED if document.blocked else 0
