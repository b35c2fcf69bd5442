"""``bootctl-py status``."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Final

from bootd.cli.look import add_offline, look
from bootd.cli.output import Output
from bootd.daemon.status_file import read_status

_RUN: Final = Path("/run/bootd")
_BUS_ADDRESS: Final = "DBUS_SYSTEM_BUS_ADDRESS"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_offline(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Show where the machine is; what the daemon of this machine wrote down spares the bus.

    Not to root with ``--json``: what root alone may see, the drift digest, is not in a file.
    """
    here = not (arguments.offline or arguments.sysroot or os.environ.get(_BUS_ADDRESS))
    all_of_it = output.json != "off" and os.geteuid() == 0
    document = read_status(_RUN) if here and not all_of_it else None
    if document is None:
        output.show(look(arguments, "GetStatus"))
    elif output.json == "off":
        from bootd.cli.render.status import render_plainly  # noqa: PLC0415 - JSON needs no text

        output.text(render_plainly(document, output.style))
    else:
        output.value(document)
    return 0
