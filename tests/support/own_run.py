"""Commands of a user who sees another machine's ``/run/bootd``, and nothing else in ``/run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_SCRIPT = (
    'mount -t tmpfs none /run && mkdir /run/bootd && mount --bind "$1" /run/bootd && '
    'shift && exec unshare --user --map-user=1000 "$@"'
)


def with_run(folder: Path, command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` in namespaces of its own; it needs root.

    The user is none but in name: what root may read can be read.
    """
    return ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh", str(folder), *command]
