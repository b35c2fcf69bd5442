"""``bootctl-py health``: what ``bootd-health.service`` runs after boot, without the daemon."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.offline import host, look, root
from bootd.cli.output import Output
from bootd.model.errors import FAILED
from bootd.model.health import HealthDocument, Verdict
from bootd.operations.trial.health import last_health, run_health


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("show", "run"),
        default="show",
        help="show what the checks found last in this boot, or run them now",
    )


def run(arguments: Namespace, output: Output) -> int:
    """Show it; the exit status is 1 where the running deployment is unhealthy."""
    document = _run_checks(arguments) if arguments.action == "run" else last_health(host(arguments))
    output.show(document)
    return FAILED if document.verdict is Verdict.UNHEALTHY else 0


def _run_checks(arguments: Namespace) -> HealthDocument:
    return run_health(host(arguments), root(arguments), look(arguments))
