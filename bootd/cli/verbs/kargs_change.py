"""``bootctl-py kargs add``, ``remove``, ``set`` and ``unset``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from bootd.cli.daemon import add_no_wait, run_job_or_none
from bootd.cli.output import Output
from bootd.cli.screen.progress import displayed
from bootd.startup import later

with later():
    from bootd.cli import offline
    from bootd.operations import kernel_arguments
    from bootd.operations.jobs import table


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "words",
        metavar="ARGUMENT",
        nargs="*",
        help="KEY or KEY=VALUE, as on the kernel's command line; 'unset' takes keys, and 'remove' "
        "a key that one argument alone has",
    )
    parser.add_argument(
        "--source",
        metavar="NAME",
        help="change only what the program of that name owns; 'set' replaces all of it, and "
        "'unset' without an argument takes all of it away",
    )
    parser.add_argument(
        "--offline",
        action="store_true",
        help="work on the disk, as is done for root anyway where no daemon answers",
    )
    add_no_wait(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Change the kernel arguments from the next boot on."""
    verb = arguments.verb.rpartition(" ")[2]
    options = {} if arguments.source is None else {"source": arguments.source}
    document = run_job_or_none(
        arguments, output, "ChangeKernelArguments", verb, arguments.words, **options
    ) or _change(arguments, output, verb, options)
    output.show(document)
    if document.get("kind") == "KernelArgumentsChange" and document["changed"]:
        output.note("They take effect with the next restart; 'bootctl-py apply' restarts now.")
    return 0


def _change(
    arguments: Namespace, output: Output, verb: str, options: dict[str, Any]
) -> dict[str, Any]:
    with displayed(output) as display, offline.mounted(arguments) as machine:
        progress = offline.OperationProgress(display)
        document = kernel_arguments.change_arguments(
            machine, progress, verb=verb, words=arguments.words, **options
        )
        offline.tell_of_reboot(machine)
    offline.tell_of(table.CHANGE_KERNEL_ARGUMENTS, document)
    if document.changed:
        offline.arm_finalization(arguments)
    return document.model_dump(mode="json")
