"""One operation in a child process, and what it says while it runs.

The child reads one JSON request line and writes JSON lines (``bootd.operations.__main__``). Its
standard input stays open as long as it runs: when the daemon dies, however it dies, the child sees
the end of the file and stops. What a child says is checked like any input: lines have a bound, and
one that is no event of ours ends the job.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bootd.daemon.event_loop import asyncio
from bootd.model.errors import BootdError, CancelledError, InternalError, registered_errors
from bootd.process import how_it_ended

_log = logging.getLogger(__name__)

COMMAND: Final = (sys.executable, "-P", "-m", "bootd.operations")
MAX_LINE: Final = 32 << 20
"""Bytes of the longest line: a result with a full ``/etc`` report."""
KILL_AFTER_SECONDS: Final = 10.0
_CHUNK: Final = 1 << 16
_LAST_WORDS_SECONDS: Final = 1.0
"""How long the output of a dead child is read, if somebody else holds it open."""
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Step:
    """Where a running operation is: bytes of this phase, and `overall` (0 to 1) of the whole."""

    phase: str
    done: int
    total: int
    overall: float


class Worker:
    """Runs operations, each in a child process.

    Args:
        sysroot: the machine's folder; None for the live host.
        command: the program that runs one; tests give another.
        kill_after: seconds a child that was told to stop may take.
        max_line: bytes of the longest line a child may write.
    """

    def __init__(
        self,
        sysroot: Path | None,
        command: Sequence[str] = COMMAND,
        *,
        kill_after: float = KILL_AFTER_SECONDS,
        max_line: int = MAX_LINE,
    ) -> None:
        self._sysroot = sysroot
        self._command = command
        self._kill_after = kill_after
        self._max_line = max_line

    async def run(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        on_step: Callable[[Step], None],
        job: int | None = None,
    ) -> dict[str, Any]:
        """Run an operation to its end and return its document; what it logs names the job.

        Cancelling the task that awaits this stops the child: politely, then by force. A child that
        finished just then wins, and its document is returned.

        Raises:
            BootdError: the operation's error; CancelledError if it was stopped.
            InternalError: the child died or broke the protocol.
        """
        request = {
            "operation": operation,
            "arguments": dict(arguments),
            "sysroot": None if self._sysroot is None else str(self._sysroot),
            "job": job,
        }
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, limit=self._max_line, process_group=0
            )
        except OSError as error:
            raise InternalError(f"the worker could not be started: {error}") from error
        try:
            return await self._converse(child, request, on_step)
        finally:
            await self._end(child)

    async def _converse(
        self, child: Process, request: Mapping[str, Any], on_step: Callable[[Step], None]
    ) -> dict[str, Any]:
        assert child.stdin is not None
        child.stdin.write(json.dumps(request).encode() + b"\n")
        reading = asyncio.ensure_future(self._read(child, on_step))
        hanging_up = asyncio.ensure_future(_hang_up(child))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            _log.debug("stopping worker %d", child.pid)
            with suppress(ProcessLookupError):
                child.terminate()
            done, _ = await asyncio.wait([reading], timeout=self._kill_after)
            if not done:
                with suppress(ProcessLookupError):
                    child.kill()
                await asyncio.wait([reading])
            return _cancelled(reading)
        finally:
            hanging_up.cancel()

    async def _read(self, child: Process, on_step: Callable[[Step], None]) -> dict[str, Any]:
        assert child.stdout is not None
        while True:
            try:
                line = await child.stdout.readline()
            except ValueError as error:
                raise InternalError(
                    f"the worker wrote a line of more than {self._max_line} bytes"
                ) from error
            if not line.endswith(b"\n"):
                raise InternalError(
                    f"the worker {how_it_ended(await _status(child))} without a result"
                )
            event = _parse(line)
            match event.get("event"):
                case "progress":
                    on_step(_step(event))
                case "result" if isinstance(event.get("document"), dict):
                    document: dict[str, Any] = event["document"]
                    return document
                case "error":
                    raise _error(event)
                case _:
                    raise InternalError(f"the worker wrote {line[:200]!r}")

    async def _end(self, child: Process) -> None:
        """Let go of a child that has nothing more to say."""
        assert child.stdin is not None
        child.stdin.close()
        # A pipe that nobody empties keeps its end open.
        draining = asyncio.ensure_future(_drain(child))
        try:
            async with asyncio.timeout(self._kill_after):
                await _status(child)
        except TimeoutError:
            child.kill()
            await _status(child)
        # Children of its that were stopped must learn that it ended; they would keep the store.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGCONT)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await draining
                await child.wait()
        # Whoever else holds a pipe of it open keeps ours open no longer; asyncio has no public way.
        child._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001


async def _drain(child: Process) -> None:
    assert child.stdout is not None
    while await child.stdout.read(_CHUNK):
        pass


async def _hang_up(child: Process) -> None:
    """Let a dead child's output end soon, although somebody else may hold it open."""
    await _status(child)
    await asyncio.sleep(_LAST_WORDS_SECONDS)
    assert child.stdout is not None
    child.stdout.feed_eof()


async def _status(child: Process) -> int:
    """Wait for a child's end and return its status.

    `Process.wait` may wait until nobody has its pipes open any more.
    """
    if child.returncode is None:
        with suppress(ProcessLookupError):
            await _readable(os.pidfd_open(child.pid))
    while child.returncode is None:
        # The kernel knows, and the loop is about to.
        await asyncio.sleep(_POLL_SECONDS)
    return child.returncode


async def _readable(descriptor: int) -> None:
    """Wait until there is something to read, and close the file."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _cancelled(reading: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
    try:
        return reading.result()
    except InternalError as error:
        # It was killed before it could say that it was cancelled.
        raise CancelledError("the job was cancelled") from error


def _parse(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InternalError(f"the worker wrote {line[:200]!r}") from error
    if not isinstance(event, dict):
        raise InternalError(f"the worker wrote {line[:200]!r}")
    return event


def _step(event: Mapping[str, Any]) -> Step:
    try:
        step = Step(
            phase=str(event["phase"])[:64],
            done=int(event["done"]),
            total=int(event["total"]),
            overall=float(event["overall"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InternalError(f"the worker reported no progress but {event!r:.200}") from error
    if step.done < 0 or step.total < 0:
        raise InternalError(f"the worker reported negative progress: {event!r:.200}")
    return step


def _error(event: Mapping[str, Any]) -> BootdError:
    kind = registered_errors().get(str(event.get("code")), InternalError)
    error = kind(str(event.get("message")), hint=str(event.get("hint", "")))
    try:
        error.not_before = datetime.fromisoformat(event["not_before"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        error.not_before = None
    return error
