"""What the verbs that change /etc share: options, the daemon or the disk, and the way back."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from bootd.cli.daemon import add_no_wait, run_job_or_none
from bootd.cli.etc_paths import add_without_daemon
from bootd.cli.output import Output
from bootd.startup import later

with later():
    from bootd.cli import offline
    from bootd.operations.jobs import table


def add_change(parser: ArgumentParser) -> None:
    """Declare the options that such verbs have in common."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="tell what would be changed and removed, and change nothing",
    )
    add_without_daemon(parser)
    add_no_wait(parser)


def change(
    arguments: Namespace,
    output: Output,
    member: str,
    given: Mapping[str, Any],
    **options: Any,
) -> int:
    """Change /etc through the daemon, or on the disk; print what was changed.

    Args:
        arguments: the command line.
        output: where to print.
        member: the method of the Manager.
        given: its arguments by the names that the operation has for them.
        options: its options.

    Returns:
        The exit status.

    Raises:
        BootdError: nothing, or not all, was changed.
    """
    if arguments.dry_run:
        options["dry_run"] = True
    document = run_job_or_none(arguments, output, member, *given.values(), **options)
    if document is None:
        operation = table.started_by(member).load()
        document = offline.do(arguments, output, operation, **given, **options)
    output.show(document)
    if document.get("kept_as"):
        output.note(f"'bootctl-py etc restore {document['kept_as']}' takes it back.")
    return 0
