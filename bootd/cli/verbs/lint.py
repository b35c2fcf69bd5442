"""``bootctl-py lint``: for whoever builds images; it needs neither a daemon nor a deployment."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from bootd.cli.output import Output
from bootd.model.errors import FAILED
from bootd.model.lint import LintDocument, LintSeverity
from bootd.operations.lint import all_lints, lint


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "root",
        metavar="ROOT",
        nargs="?",
        type=Path,
        default=Path("/"),
        help="the image's root folder; / if not given, as in a build container",
    )
    parser.add_argument(
        "--fatal-warnings", action="store_true", help="fail on warnings, not only on fatal findings"
    )
    parser.add_argument(
        "--skip", metavar="ID", action="append", help="leave a lint out; can be given several times"
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="list the lints, with their reasons, and look at nothing",
    )


def run(arguments: Namespace, output: Output) -> int:
    """Look at an image; the exit status is 1 where it should not be published."""
    if arguments.list:
        rules = [one.rule for one in all_lints()]
        output.show(LintDocument(root=None, findings=[], rules=rules, skipped=[]))
        return 0
    document = lint(arguments.root, skip=arguments.skip or ())
    output.show(document)
    bad = document.count(LintSeverity.FATAL)
    if arguments.fatal_warnings:
        bad += document.count(LintSeverity.WARNING)
    return FAILED if bad else 0
