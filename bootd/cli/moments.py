"""Times as people write them: the timestamps of systemd.time(7), by systemd's own reader."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from bootd import process
from bootd.model.errors import InvalidArgumentError, ProcessFailedError

_MOST_TEXT: Final = 200
_SECONDS: Final = re.compile(rb"UNIX seconds: @(\d{1,11})")


def moment_of(text: str) -> datetime:
    """Return the time that a text names, UTC, to the second.

    Raises:
        InvalidArgumentError: it names none.
        ProcessFailedError: there is no ``systemd-analyze``.
    """
    if not text.strip() or len(text) > _MOST_TEXT or not text.isprintable():
        raise _no_time(text)
    try:
        done = process.run(["systemd-analyze", "timestamp", "--", text])
    except ProcessFailedError as error:
        if "ended with status" in error.message:
            raise _no_time(text) from error
        raise
    found = _SECONDS.search(done.stdout)
    if found is None:
        raise _no_time(text)
    return datetime.fromtimestamp(int(found[1]), UTC)


def _no_time(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{text[:_MOST_TEXT]!r} is no time",
        hint="Write it as '2026-12-04 18:00', 'tomorrow' or '+3d'; see systemd.time(7).",
    )
