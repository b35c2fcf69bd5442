"""Log records for the journal: structured where the journal listens, plain lines elsewhere.

What is logged about a job carries its number, as the field ``JOB_ID`` or before the text. A job's
children inherit all of it from the job. What is told is one line each but for a traceback, so that
no text from outside is taken for a line of its own.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib.util import find_spec
from typing import Any, Final

from bootd.model.text import LINE_LIMIT, lines, one_line
from bootd.startup import later

with later():
    import systemd.journal as library

_OURS: Final = "bootd"
"""The logger above all of bootd's. The libraries' own debug lines stay away: they have the queries
of signed URLs in them."""
EVENTS: Final = "bootd.events"
"""The logger of events, which have a MESSAGE_ID."""
_STREAM_VARIABLE: Final = "JOURNAL_STREAM"
_DEBUG_VARIABLE: Final = "SYSTEMD_LOG_LEVEL"
_NOTICE: Final = 5
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG_PRIORITY: Final = 7
_TRACEBACK_LIMIT: Final = 16 * LINE_LIMIT


def journal_fields(record: logging.LogRecord) -> dict[str, str | int]:
    """Return what the journal gets of a record besides its message."""
    fields: dict[str, str | int] = {
        "PRIORITY": _priority(record),
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": record.lineno,
        "CODE_FUNC": record.funcName or "",
        "SYSLOG_IDENTIFIER": "bootd",
    }
    told: dict[str, str] = getattr(record, "fields", {})
    job = told.get("JOB", _job)
    if job:
        fields["JOB_ID"] = job
    if hasattr(record, "message_id"):
        fields["MESSAGE_ID"] = record.message_id
        fields |= {f"BOOTD_{name}": one_line(text) for name, text in told.items()}
    return fields


def set_up() -> None:
    """Send log records where they belong: to the journal, or to standard error."""
    logging.basicConfig(level=logging.INFO, handlers=[_handler()])
    if os.environ.get(_DEBUG_VARIABLE) in {"debug", "7"}:
        logging.getLogger(_OURS).setLevel(logging.DEBUG)


def set_up_events() -> None:
    """Send events to the journal and nowhere else, for a process whose other words are a person's.

    Without the journal's library, as outside of installed machines, events are dropped.
    """
    events = logging.getLogger(EVENTS)
    events.propagate = False
    events.setLevel(logging.INFO)
    if not events.handlers:
        events.addHandler(_to_journal() if _has_journal_library() else logging.NullHandler())


def is_set_up() -> bool:
    """Whether this process, or the one that it was forked from, has set up its log."""
    return bool(logging.getLogger().handlers)


def log_as_job(number: str) -> None:
    """Let all that this process logs from now on be about a job; an empty number is none."""
    global _job  # noqa: PLW0603 - a process works for one job
    _job = number


def logged_job() -> str:
    """Return the number of the job that this process works for; empty: none."""
    return _job


_job = ""


class _Formatter(logging.Formatter):
    """Messages of one line; tracebacks have more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        return one_line(record.message)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        return lines(super().formatException(ei), _TRACEBACK_LIMIT)


class _JournalHandler(logging.Handler):
    """Loads the library when there is something to say; most jobs end without a word."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            library.send(self.format(record), **journal_fields(record))
        except OSError:
            self.handleError(record)


class _LineFormatter(_Formatter):
    """Lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        about = f"job {_job}: " if _job else ""
        return f"bootd: {about}{super().format(record)}"


class _PriorityFormatter(_Formatter):
    """Lines with the ``<N>`` that the journal reads from a stream (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        about = f"job {_job}: " if _job else ""
        prefix = f"<{_priority(record)}>{about}"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def _handler() -> logging.Handler:
    to_journal = _stderr_is_journal()
    if to_journal and _has_journal_library():
        return _to_journal()
    handler = logging.StreamHandler()
    handler.setFormatter(_PriorityFormatter() if to_journal else _LineFormatter())
    return handler


def _to_journal() -> logging.Handler:
    handler = _JournalHandler()
    handler.setFormatter(_Formatter())
    return handler


def _has_journal_library() -> bool:
    """Whether there is python3-systemd, which many machines lack."""
    try:
        return find_spec("systemd.journal") is not None
    except (ImportError, ValueError):
        return False


def _stderr_is_journal() -> bool:
    try:
        facts = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get(_STREAM_VARIABLE) == f"{facts.st_dev}:{facts.st_ino}"


def _priority(record: logging.LogRecord) -> int:
    if record.levelno == logging.INFO and hasattr(record, "message_id"):
        return _NOTICE
    for level, priority in _PRIORITIES:
        if record.levelno >= level:
            return priority
    return _DEBUG_PRIORITY
