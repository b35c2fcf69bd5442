"""``bootd``: the daemon's command line."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bootd import __version__, journal
from bootd.daemon.dbus.names import ADDRESS_VARIABLE
from bootd.daemon.event_loop import asyncio
from bootd.model.errors import BootdError
from bootd.startup import hidden

with hidden("_hashlib"):
    # OpenSSL would be 4 MB of the daemon's memory, and it hashes next to nothing: jobs do.
    from bootd.daemon.serve import serve

_log = logging.getLogger(__name__)

_FAILED: Final = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon until it is told to end; return the exit status."""
    given = _parser().parse_args(arguments)
    journal.set_up()
    try:
        return _FAILED if asyncio.run(serve(_absolute(given.sysroot), given.bus)) else 0
    except BootdError as error:
        _log.error("%s. %s", error.message, error.hint)
        return _FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bootd", description="Keep a machine on an OS image from an OCI registry."
    )
    parser.add_argument(
        "--sysroot",
        type=Path,
        metavar="DIR",
        help="manage the machine that lies in a folder instead of this one",
    )
    parser.add_argument(
        "--bus",
        metavar="ADDRESS",
        help=f"the message bus (default: ${ADDRESS_VARIABLE}, else the system bus)",
    )
    parser.add_argument("--version", action="version", version=f"bootd {__version__}")
    return parser


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.resolve()


if __name__ == "__main__":
    sys.exit(main())
