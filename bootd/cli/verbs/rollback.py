"""``bootctl-py rollback``; a rescue shell has neither bus nor daemon, so it does without them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from bootd import process
from bootd.cli.daemon import add_no_wait, ask, run_job_or_none
from bootd.cli.output import Output
from bootd.cli.screen.progress import displayed
from bootd.model.errors import NotTheRunningMachineError
from bootd.startup import later

with later():
    from bootd.cli import offline
    from bootd.operations import rollback
    from bootd.operations.jobs import table


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "deployment",
        metavar="DEPLOYMENT",
        nargs="?",
        help="where to go; the one that 'status' calls rollback if not given",
    )
    parser.add_argument(
        "--carry-etc",
        action="store_true",
        help="bring the edits of /etc along that were made since that deployment was left",
    )
    parser.add_argument("--apply", action="store_true", help="restart into it at once")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="work on the disk, as is done for root anyway where no daemon answers",
    )
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Make an older deployment boot next."""
    if arguments.apply and arguments.sysroot is not None:
        raise NotTheRunningMachineError(
            f"{arguments.sysroot} is a folder, so there is nothing to restart"
        )
    answer = _ask(arguments, output)
    document = answer or _do(arguments, output)
    output.show(document)
    if arguments.apply and answer is None:
        process.run(["systemctl", "reboot"])
    elif arguments.apply:
        ask(arguments, "Apply")
    elif document.get("kind") == "Rollback":
        if document.get("etc_left_behind"):
            again = f"bootctl-py rollback --carry-etc {document['deployment']}"
            output.note(f"'{again}' brings those edits along.")
        output.note("'bootctl-py apply' restarts into it now.")
    return 0


def _ask(arguments: Namespace, output: Output) -> dict[str, Any] | None:
    """Let the daemon do it; None where none answers and root may do without."""
    arguments.wait = arguments.wait or arguments.apply
    options: dict[str, Any] = {"carry_etc": True} if arguments.carry_etc else {}
    if arguments.deployment:
        options["deployment"] = arguments.deployment
    return run_job_or_none(arguments, output, "Rollback", **options)


def _do(arguments: Namespace, output: Output) -> dict[str, Any]:
    with displayed(output) as display, offline.mounted(arguments) as machine:
        document = rollback.rollback(
            machine,
            offline.OperationProgress(display),
            target=arguments.deployment,
            carry_etc=arguments.carry_etc,
        )
        offline.tell_of_reboot(machine)
    offline.tell_of(table.ROLLBACK, document)
    return document.model_dump(mode="json")
