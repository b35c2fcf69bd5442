"""Commands that see another machine's ``/run/bootd``, and nothing else in ``/run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_SCRIPT = (
    'mount -t tmpfs none /run && mkdir /run/bootd && mount --bind "$1" /run/bootd && '
    'shift && exec "$@"'
)


def with_run(folder: Path, command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` in a mount namespace of its own; it needs root."""
    return ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh", str(folder), *command]
