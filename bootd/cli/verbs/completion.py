"""``bootctl-py completion``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.documents import CompletionDocument
from bootd.cli.output import Output


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the shell."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="who reads it")


def run(arguments: Namespace, output: Output) -> int:
    """Print what a shell reads."""
    from bootd.cli.completion import SHELLS  # noqa: PLC0415 - it needs the parsers of all verbs

    script = SHELLS[arguments.shell]().rstrip("\n")
    output.show(CompletionDocument(shell=arguments.shell, script=script))
    return 0
