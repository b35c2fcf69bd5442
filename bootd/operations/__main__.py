"""One job in a process of its own: ``python -m bootd.operations``.

The daemon starts it, writes one request line to its standard input and reads JSON lines from its
standard output: any number of ``progress``, then one ``result`` or ``error``. It ends when it is
told to (SIGTERM) or when its standard input closes, because then nobody listens. Memory that a job
took is gone with it, and killing it is safe because every operation writes in a crash-safe order.
It logs where the daemon does, or to standard error where somebody else started it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Final

from pydantic import BaseModel, ValidationError

from bootd import journal
from bootd.clock import SYSTEM_CLOCK
from bootd.model.errors import BootdError, CancelledError, InternalError, InvalidArgumentError
from bootd.model.validation import in_words
from bootd.operations.host import opened_host
from bootd.operations.jobs.kind import JobKind
from bootd.operations.jobs.request import Request
from bootd.operations.jobs.table import JOBS
from bootd.operations.progress import Phase, Progress, overall
from bootd.startup import end_at_once, freeze_modules

_log = logging.getLogger("bootd.operations")

_MAX_REQUEST: Final = 1 << 20
_REPORT_SECONDS: Final = 0.1
_CANCELLED: Final = "the job was cancelled"


def _kind(name: str) -> JobKind[Any]:
    if name not in JOBS:
        raise InvalidArgumentError(f"there is no operation {name!r}")
    return JOBS[name]


def _request(kind: JobKind[Any], arguments: dict[str, Any]) -> Request:
    try:
        request: Request = kind.request.model_validate(arguments)
    except ValidationError as error:
        # The daemon sends none of these: it made the request itself.
        raise TypeError(f"{kind.name}: {in_words(error)}") from error
    return request


class _Reporter:
    """Progress as JSON lines, a few a second, and the wish to stop from a signal."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._last = 0.0
        self._phase: Phase | None = None
        self._cancelled = False
        self._sending = False
        self._finished = False

    def report(self, phase: Phase, done: int = 0, total: int = 0) -> None:
        if self._cancelled:
            raise CancelledError(_CANCELLED)
        now = SYSTEM_CLOCK.monotonic()
        if phase is self._phase and now - self._last < _REPORT_SECONDS:
            return
        if phase is not self._phase:
            _log.debug("now %s", phase)
        self._phase, self._last = phase, now
        fraction = overall(phase, done, total)
        self.send(event="progress", phase=phase, done=done, total=total, overall=fraction)

    def cancel(self, _signal: int, _frame: FrameType | None) -> None:
        """Stop the operation where it is, be it waiting for a server; every write may be cut."""
        self._cancelled = True
        if not self._sending and not self._finished:
            raise CancelledError(_CANCELLED)

    def finish(self) -> None:
        """Nothing is left to be stopped: the daemon hangs up once it has the result."""
        self._finished = True

    def send(self, **event: Any) -> None:
        self._sending = True
        self._output.write(json.dumps(event).encode() + b"\n")
        self._output.flush()
        self._sending = False


def main() -> int:
    """Run the one request; return the exit status."""
    reporter = _Reporter(sys.stdout.buffer)
    journal.set_up()
    signal.signal(signal.SIGTERM, reporter.cancel)
    request = sys.stdin.buffer.readline(_MAX_REQUEST)
    try:
        _end_with_the_daemon(reporter)
        document = _run(json.loads(request), reporter)
        reporter.finish()
    except BootdError as error:
        reporter.finish()
        level = logging.ERROR if isinstance(error, InternalError) else logging.DEBUG
        _log.log(level, "it fails with %s", error.code, exc_info=True)
        return _fail(reporter, error)
    except Exception as error:  # noqa: BLE001 - the last frame of a process: report, do not hide
        reporter.finish()
        _log.exception("an error that is a fault of bootd's")
        return _fail(reporter, InternalError(f"{type(error).__name__}: {error}"))
    _log.debug("it is done")
    reporter.send(event="result", document=document.model_dump(mode="json"))
    return 0


def _end_with_the_daemon(reporter: _Reporter) -> None:
    """Stop the operation when standard input closes, as SIGTERM does.

    The kernel tells of it by SIGIO: a thread that waits would make it unsafe to fork.
    """
    waiting = select.poll()
    waiting.register(0, select.POLLIN)

    def look(signal_number: int, frame: FrameType | None) -> None:
        if waiting.poll(0) and not os.read(0, 1):
            reporter.cancel(signal_number, frame)

    signal.signal(signal.SIGIO, look)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    look(signal.SIGIO, None)


def _run(request: dict[str, Any], progress: Progress) -> BaseModel:
    journal.log_as_job(str(request.get("job") or ""))
    kind = _kind(request["operation"])
    asked = _request(kind, request.get("arguments", {}))
    operation = kind.load()
    freeze_modules(collect=False)
    _log.debug("%s begins", kind.name)
    folder = request.get("sysroot")
    with opened_host(None if folder is None else Path(folder)) as host:
        return operation(host, progress, **asked.arguments())


def _fail(reporter: _Reporter, error: BootdError) -> int:
    ordered = error.not_before
    reporter.send(
        event="error",
        code=error.code,
        message=error.message,
        hint=error.hint,
        not_before=None if ordered is None else ordered.isoformat(),
    )
    return error.exit_status


if __name__ == "__main__":
    end_at_once(main())
