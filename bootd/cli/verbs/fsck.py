"""``bootctl-py fsck``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any, Final

from bootd.cli.look import add_offline
from bootd.cli.output import Output
from bootd.cli.screen.progress import displayed
from bootd.model.errors import FAILED, DaemonUnreachableError

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
    from bootd.cli.offline import host  # noqa: PLC0415 - the daemon does the rest
    from bootd.operations.fsck import prepare_boot  # noqa: PLC0415

    prepare_boot(host(arguments))
    return 0


def _check(arguments: Namespace, output: Output) -> dict[str, Any]:
    if not (arguments.offline or arguments.sysroot):
        from bootd.cli.daemon import run_job  # noqa: PLC0415 - the bus is not always wanted

        arguments.wait = True
        try:
            return run_job(arguments, output, "Fsck", repair=arguments.repair)
        except DaemonUnreachableError as error:
            output.note(f"{error.message}; checking without it")
    from bootd.cli.offline import OperationProgress, mounted, tell_of  # noqa: PLC0415
    from bootd.operations.fsck import fsck  # noqa: PLC0415

    with displayed(output) as display, mounted(arguments) as machine:
        document = fsck(machine, OperationProgress(display), repair=arguments.repair)
    tell_of("fsck", document)
    return document.model_dump(mode="json")
