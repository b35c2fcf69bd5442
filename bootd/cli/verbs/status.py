"""``bootctl-py status``."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Final

from bootd import __version__
from bootd.cli.look import add_offline, look
from bootd.cli.output import Output
from bootd.daemon.events.status_file import read_status
from bootd.startup import later

with later():
    from bootd.cli.render import status  # JSON needs no text

_RUN: Final = Path("/run/bootd")
_BUS_ADDRESS: Final = "DBUS_SYSTEM_BUS_ADDRESS"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Show where the machine is.

    What the daemon of this machine wrote down spares the bus; root asks, and hears more.
    """
    elsewhere = arguments.offline or arguments.sysroot or os.environ.get(_BUS_ADDRESS)
    written = None if elsewhere or os.geteuid() == 0 else read_status(_RUN)
    document = look(arguments, "GetStatus") if written is None else written
    if output.json == "off" and document.get("bootd") == __version__:
        output.text(status.render_plainly(document, output.style))
    else:
        output.show(document)
    return 0
