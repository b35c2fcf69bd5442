"""``bootctl-py unstage``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import ask
from bootd.cli.documents import DoneDocument
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options; there are none."""


def run(arguments: Namespace, output: Output) -> int:
    """Forget the staged deployment."""
    ask(arguments, "Unstage")
    output.show(DoneDocument(verb=arguments.verb, message="Nothing is staged any more."))
    return 0
