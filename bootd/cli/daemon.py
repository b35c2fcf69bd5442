"""Talking to the daemon: one question, or one job from its start to its end.

A job belongs to the daemon: it goes on when nobody waits for it any longer. The first Ctrl-C asks
the daemon to cancel it and waits until that is done; the second one stops waiting. An automatic job
ends in the same way when the service manager ends who asked for it, unless others want it too.
"""

from __future__ import annotations

import json
import os
import signal
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from bootd.cli.managed import is_managed, require_managed
from bootd.cli.output import Output
from bootd.cli.screen.progress import Display, Step, displayed
from bootd.daemon.dbus.client import BusClient, JobView
from bootd.daemon.event_loop import asyncio
from bootd.model.errors import BootdError, DaemonUnreachableError

_ANSWER_SECONDS: Final = 10.0
"""How long who was told to end waits to learn which job is to be cancelled."""
_OTHER_BUS_SECONDS: Final = 10.0
"""How long a bus has to answer that only another machine's daemon could be on."""


def add_no_wait(parser: ArgumentParser) -> None:
    """Declare ``--no-wait``, for verbs that start a job."""
    parser.add_argument(
        "--no-wait",
        dest="wait",
        action="store_false",
        help="print the job's object path at once and leave the job to itself",
    )


def ask(arguments: Namespace, member: str, *given: Any, **options: Any) -> Any:
    """Call a method of the Manager and return its answer.

    Raises:
        BootdError: what the daemon answered, or that it does not.
    """

    async def question() -> Any:
        async with _connected(arguments) as client:
            return await client.call(member, *given, **options)

    return asyncio.run(question())


def jobs(arguments: Namespace) -> list[JobView]:
    """Return the running job and those that ended lately."""

    async def question() -> list[JobView]:
        async with _connected(arguments) as client:
            return await client.get_jobs()

    return asyncio.run(question())


def cancel(arguments: Namespace, path: str) -> None:
    """Ask a job to end.

    Raises:
        NoSuchJobError: there is no such job.
    """

    async def question() -> None:
        async with _connected(arguments) as client:
            await client.cancel(path)

    asyncio.run(question())


def run_job(
    arguments: Namespace, output: Output, member: str, *given: Any, **options: Any
) -> dict[str, Any]:
    """Call a method that starts a job, follow the job, and return the document it leaves.

    With ``--no-wait`` the document is what `bootd.cli.documents.JobDocument` says, made without
    pydantic, which takes longer to load than all the rest.

    Raises:
        BootdError: the daemon does not answer, would not start the job, or the job failed.
        KeyboardInterrupt: Ctrl-C was pressed twice, or the service manager ended an automatic job.
    """

    async def job() -> dict[str, Any]:
        async with _connected(arguments) as client:
            ending = _Ending(client, output, automatic=options.get("automatic") is True)
            with ending.heeded():
                path = await client.call(member, *given, **options)
                if not arguments.wait:
                    return {"version": 1, "kind": "Job", "path": path}
                ending.is_of(path)
                with displayed(output) as display:
                    ended = await client.follow_job(path, lambda view: _show(view, display))
            document = json.loads(ended.outcome())
            assert isinstance(document, dict)
            return document

    try:
        return asyncio.run(job())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def run_job_or_none(
    arguments: Namespace, output: Output, member: str, *given: Any, **options: Any
) -> dict[str, Any] | None:
    """Let the daemon do a job; None where that is not wanted, or root can do without one.

    Raises:
        BootdError: see `run_job`.
    """
    if arguments.offline or arguments.sysroot is not None:
        return None
    try:
        return run_job(arguments, output, member, *given, **options)
    except DaemonUnreachableError as error:
        if os.geteuid() != 0:
            raise
        output.note(f"{error.message}; {arguments.verb} works without it")
        return None


async def _connect(arguments: Namespace) -> BusClient:
    """Connect to the bus; where only another machine's daemon could answer, it has less time."""
    connecting = BusClient.connect(interactive=arguments.interactive)
    if is_managed(None):
        return await connecting
    try:
        return await asyncio.wait_for(connecting, _OTHER_BUS_SECONDS)
    except TimeoutError:
        require_managed(None)
        raise


@asynccontextmanager
async def _connected(arguments: Namespace) -> AsyncIterator[BusClient]:
    client = await _connect(arguments)
    try:
        if not client.daemon_runs:
            # Nobody would answer: the conditions of its unit keep the daemon from being started.
            require_managed(None)
        yield client
    finally:
        await client.close()


class _Ending:
    """What signals make of a job that is followed, or is about to be started."""

    def __init__(self, client: BusClient, output: Output, *, automatic: bool) -> None:
        self._client = client
        self._path = ""
        self._output = output
        self._automatic = automatic
        self._waiting = asyncio.current_task()
        self._request: asyncio.Task[None] | None = None
        self._is_told_to_end = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Heed the signals meanwhile."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        if self._automatic:
            loop.add_signal_handler(signal.SIGTERM, self._told_to_end)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            loop.remove_signal_handler(signal.SIGTERM)
            if self._request is not None:
                self._request.cancel()

    def is_of(self, path: str) -> None:
        """Take up which job it is; one that was told to end before it began does now."""
        self._path = path
        if self._is_told_to_end:
            self._request = asyncio.ensure_future(self._cancel_and_leave())

    def _interrupted(self) -> None:
        if self._path and self._request is None:
            self._output.note("Cancelling the job; Ctrl-C again stops waiting for that.")
            self._request = asyncio.ensure_future(self._cancel())
        else:
            self._leave()

    def _told_to_end(self) -> None:
        self._is_told_to_end = True
        if self._request is not None:
            self._leave()
        elif self._path:
            self._request = asyncio.ensure_future(self._cancel_and_leave())
        else:
            asyncio.get_running_loop().call_later(_ANSWER_SECONDS, self._leave)

    async def _cancel(self, **options: bool) -> None:
        try:
            await self._client.cancel(self._path, **options)
        except BootdError as error:
            self._output.note(f"The job goes on: {error.message}")

    async def _cancel_and_leave(self) -> None:
        await self._cancel(automatic=True)
        self._leave()

    def _leave(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()


def _show(view: JobView, display: Display) -> None:
    phase = "waiting" if view.state == "waiting" else view.phase
    display.update(Step(phase, view.progress, view.bytes_done, view.bytes_total))
