"""Doing without the daemon: the same operations, on the disk, under the same lock."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bootd import journal
from bootd.cli.managed import require_managed
from bootd.cli.output import Output
from bootd.cli.screen.progress import Display, Step, displayed
from bootd.daemon.events import news
from bootd.daemon.live import FINALIZE_UNIT
from bootd.model.errors import BootdError, ProcessFailedError
from bootd.operations import status
from bootd.operations.host import Host, open_host, opened_host, with_boot
from bootd.operations.jobs.kind import JobKind
from bootd.operations.jobs.looks import LOOKS
from bootd.operations.jobs.request import make_request
from bootd.operations.machine.reboot_required import show_reboot_required
from bootd.operations.machine.survey import Survey, blind_survey, take_survey
from bootd.operations.progress import Phase, overall
from bootd.process import run

_log = logging.getLogger(__name__)


class OperationProgress:
    """Shows what an operation in this process reports."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def report(self, phase: Phase, done: int = 0, total: int = 0) -> None:
        """Show it."""
        self._display.update(Step(phase, overall(phase, done, total), done, total))


def answer(arguments: Namespace, member: str, *given: Any, **options: Any) -> dict[str, Any]:
    """Return what the daemon would answer, from the disk; only root can mount ``$BOOT`` for that.

    Raises:
        BootdError: the disk does not hold what is needed.
    """
    look = LOOKS[member]
    fields = [name for name, field in look.request.model_fields.items() if field.is_required()]
    request = make_request(look.request, {**dict(zip(fields, given, strict=True)), **options})
    view = look.load()
    with with_boot(host(arguments)) if os.geteuid() == 0 else nullcontext(host(arguments)) as found:
        return view(found, **request.arguments()).model_dump(mode="json")


def do(
    arguments: Namespace, output: Output, operation: Callable[..., BaseModel], **given: Any
) -> dict[str, Any]:
    """Run an operation in this process, on the machine with its ``$BOOT`` mounted.

    Raises:
        BootdError: it failed.
    """
    with displayed(output) as display, mounted(arguments) as machine:
        document = operation(machine, OperationProgress(display), **given)
    return document.model_dump(mode="json")


def mounted(arguments: Namespace) -> AbstractContextManager[Host]:
    """Give that machine with its ``$BOOT`` mounted, for verbs that change what boots.

    Raises:
        NotASysrootError: it is none of bootd's.
        NoBootPartitionError: ``$BOOT`` was not found or cannot be mounted.
    """
    require_managed(arguments.sysroot)
    return opened_host(arguments.sysroot)


def tell_of(kind: JobKind[Any], document: BaseModel) -> None:
    """Tell the journal what an operation in this process did, as the daemon tells of its jobs.

    Args:
        kind: of the job that does the same.
        document: what the operation returned.
    """
    journal.set_up_events()
    news.tell_of_result(kind, document.model_dump(mode="json"))


def arm_finalization(arguments: Namespace) -> None:
    """Start the unit that finalizes at shutdown what was staged; tell if it cannot be started.

    The daemon starts it for what is staged while it runs. Another machine's folder
    (``--sysroot``) has no shutdown here, and nothing is started for it.
    """
    if arguments.sysroot is not None:
        return
    try:
        run(["systemctl", "start", FINALIZE_UNIT])
    except ProcessFailedError as error:
        _log.error("%s (Run 'bootctl-py finalize' before the restart.)", error.message)


def tell_of_reboot(machine: Host) -> None:
    """Let programs that look for it see whether a restart is wanted, as the daemon does."""
    try:
        show_reboot_required(machine.sysroot, status.status(machine))
    except BootdError as error:
        _log.warning("other programs are not told of the restart: %s", error.message)


def look(arguments: Namespace) -> Survey:
    """Look at that machine; where that cannot be, return no more than what runs.

    It is for verdicts on an image, which is not to be blamed for the partition or the store.
    """
    try:
        with mounted(arguments) as machine:
            return take_survey(machine.sysroot)
    except BootdError as error:
        _log.warning("the boot entries are not known: %s", error.message)
        return blind_survey(host(arguments).sysroot)


def root(arguments: Namespace) -> Path:
    """Return the root folder that configuration and health checks are looked up in."""
    return Path("/") if arguments.sysroot is None else Path(arguments.sysroot)


def host(arguments: Namespace) -> Host:
    """Return the machine that ``--sysroot`` names, or this one.

    Raises:
        NotASysrootError: it is none of bootd's.
    """
    require_managed(arguments.sysroot)
    return open_host(arguments.sysroot)
