"""``bootctl-py upgrade``; with ``--automatic`` it is the timer's command."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from bootd.cli.daemon import add_no_wait, ask, run_job
from bootd.cli.documents import DoneDocument
from bootd.cli.output import Output
from bootd.model.errors import (
    DeniedDigestError,
    HeldError,
    InvalidArgumentError,
    NotDueError,
    StagedByHandError,
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--automatic",
        action="store_true",
        help="do what 'automatic' in bootd.toml says: nothing, check, stage, or stage and restart; "
        "a hold or a denied image is then no error",
    )
    parser.add_argument(
        "--when-due",
        action="store_true",
        help="with --automatic: only if the schedule of this machine has come to it; it is what "
        "the timer asks",
    )
    parser.add_argument(
        "--apply",
        action="store_true",
        help="restart into what is then staged or queued; without either nothing happens",
    )
    parser.add_argument(
        "--from",
        dest="taken_from",
        metavar="REFERENCE",
        help="take this one update from somewhere else, e.g. oci:/media/stick; the machine goes on "
        "following its image",
    )
    parser.add_argument(
        "--allow-downgrade",
        action="store_true",
        help="take the image although it is an older release than the one that was taken before",
    )
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Stage the newest image."""
    if arguments.apply and not arguments.wait:
        raise InvalidArgumentError(
            "--apply has to wait for the job", hint="Leave one of --apply and --no-wait out."
        )
    if arguments.automatic and arguments.taken_from is not None:
        raise InvalidArgumentError(
            "--from is for somebody who asks, and --automatic for nobody",
            hint="Leave one of --from and --automatic out.",
        )
    if arguments.automatic and arguments.allow_downgrade:
        raise InvalidArgumentError(
            "--allow-downgrade is for a person",
            hint="Set trust.allow_downgrade in bootd.toml to let the timer do it.",
        )
    if arguments.when_due and not arguments.automatic:
        raise InvalidArgumentError(
            "--when-due is for automatic runs", hint="Write 'upgrade --automatic --when-due'."
        )
    if arguments.automatic:
        return _run_automatically(arguments, output)
    options: dict[str, Any] = {}
    if arguments.taken_from is not None:
        options["from"] = arguments.taken_from
    if arguments.allow_downgrade:
        options["allow_downgrade"] = True
    document = run_job(arguments, output, "Upgrade", **options)
    finish(document, output)
    if arguments.apply and json.loads(ask(arguments, "GetStatus"))["reboot_required"]:
        ask(arguments, "Apply")
    return 0


def finish(document: Mapping[str, Any], output: Output) -> None:
    """Print what was staged and how it takes effect."""
    output.show(document)
    if document.get("kind") == "Stage" and document.get("changed"):
        output.note("It boots next; 'bootctl-py apply' restarts into it now.")


def _run_automatically(arguments: Namespace, output: Output) -> int:
    options = {"automatic": True} | ({"when_due": True} if arguments.when_due else {})
    try:
        document = run_job(arguments, output, "Upgrade", **options)
    except (HeldError, DeniedDigestError, NotDueError, StagedByHandError) as error:
        # The timer's unit must not be red every night for what somebody decided.
        output.show(DoneDocument(verb=arguments.verb, message=f"Nothing to do: {error.message}."))
        return 0
    output.show(document)
    return 0
