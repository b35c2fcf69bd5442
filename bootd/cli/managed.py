"""First contact: is this a machine of bootd's? It is asked before the bus or the disk is.

Every command pays for what is imported here, so that is little.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bootd.model.boot.command_line import first_value
from bootd.model.errors import NotASysrootError

_STORE: Final = Path("/sysroot/bootd")
"""As in the conditions of bootd's units: without it the daemon is not started."""
_SERVED: Final = Path("/run/bootd/status")
"""Made by a daemon of this boot, for users who need not see the store."""
_COMMAND_LINE: Final = Path("/proc/cmdline")
_MAX_COMMAND_LINE: Final = 1 << 20
_ARGUMENT: Final = "bootd"


def is_managed(sysroot: Path | None) -> bool:
    """Return whether there is a store of bootd's; what may not be looked at counts as one.

    Args:
        sysroot: a machine that lies in a folder; None for this one.
    """
    if sysroot is not None:
        return _is_there(sysroot / "bootd")
    return _is_there(_STORE) or _is_there(_SERVED)


def require_managed(sysroot: Path | None) -> None:
    """Refuse a machine that is none of bootd's.

    Args:
        sysroot: a machine that lies in a folder; None for this one.

    Raises:
        NotASysrootError: it has no store; the hint says what can be done instead.
    """
    if is_managed(sysroot):
        return
    if sysroot is not None:
        raise NotASysrootError(f"{sysroot} holds no machine of bootd's: there is no bootd in it")
    deployment = _started_for()
    if deployment is not None:
        raise NotASysrootError(
            f"the kernel was started for deployment {deployment}, and {_STORE} is not there",
            hint="'findmnt /sysroot' shows what is mounted; 'journalctl -b' says what went wrong.",
        )
    raise NotASysrootError("this machine does not run from a deployment of bootd")


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def _started_for() -> str | None:
    try:
        with _COMMAND_LINE.open("rb") as stream:
            line = stream.read(_MAX_COMMAND_LINE).decode(errors="replace")
    except OSError:
        return None
    return first_value(line.strip(), _ARGUMENT)
