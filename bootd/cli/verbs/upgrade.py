"""``bootctl-py upgrade``; with ``--automatic`` it is the timer's command."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from bootd.cli.daemon import add_no_wait, ask, run_job
from bootd.cli.output import Output
from bootd.cli.staging import add_force, finish
from bootd.model.errors import InvalidArgumentError


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--automatic",
        action="store_true",
        help="do what 'automatic' in bootd.toml says: nothing, check, stage, or stage and restart; "
        "a hold or a denied image is then no error",
    )
    parser.add_argument(
        "--apply", action="store_true", help="restart into the new deployment when it is staged"
    )
    add_force(parser)
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Stage the newest image."""
    if arguments.apply and not arguments.wait:
        raise InvalidArgumentError(
            "--apply has to wait for the job", hint="Leave one of --apply and --no-wait out."
        )
    document = run_job(
        arguments, output, "Upgrade", automatic=arguments.automatic, force=arguments.force
    )
    finish(document, output)
    if arguments.apply and document.get("deployment"):
        ask(arguments, "Apply")
    return 0
