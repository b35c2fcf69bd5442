"""``bootctl-py fsck``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any, Final

from bootd.cli.look import add_offline
from bootd.cli.output import Output
from bootd.cli.screen.progress import displayed
from bootd.model.errors import FAILED, DaemonUnreachableError
from bootd.startup import later

with later():
    # A machine that is being started has no bus.
    from bootd.cli import daemon, offline
    from bootd.operations import fsck
    from bootd.operations.jobs import table

_FETCHED: Final = frozenset({"object", "layer", "image"})
"""What an upgrade fetches again once fsck has taken it away."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--no-repair",
        dest="repair",
        action="store_false",
        help="only look; otherwise what the boot partition lost is put back, and what is damaged "
        "in the store is removed, so that an upgrade fetches it anew",
    )
    parser.add_argument(
        "--starting",
        action="store_true",
        help="the machine is being started and has mounted nothing: only make the halves of a RAID "
        "array that the boot partition is on alike",
    )
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Measure everything; the exit status is 1 where something is damaged."""
    if arguments.starting:
        return _start(arguments)
    document = _check(arguments, output)
    output.show(document)
    if not document["damages"]:
        return 0
    if any(one["repaired"] and one["what"] in _FETCHED for one in document["damages"]):
        output.note("'bootctl-py upgrade' fetches what was removed.")
    return FAILED


def _start(arguments: Namespace) -> int:
    fsck.prepare_boot(offline.host(arguments))
    return 0


def _check(arguments: Namespace, output: Output) -> dict[str, Any]:
    if not (arguments.offline or arguments.sysroot):
        arguments.wait = True
        try:
            return daemon.run_job(arguments, output, "Fsck", repair=arguments.repair)
        except DaemonUnreachableError as error:
            output.note(f"{error.message}; checking without it")
    with displayed(output) as display, offline.mounted(arguments) as machine:
        progress = offline.OperationProgress(display)
        document = fsck.fsck(machine, progress, repair=arguments.repair)
    offline.tell_of(table.FSCK, document)
    return document.model_dump(mode="json")
