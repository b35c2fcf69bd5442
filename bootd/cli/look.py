"""Verbs that only look: they ask the daemon, or read the disk where that is wanted."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from bootd.startup import later

with later():
    # The bus costs as much time as all the rest.
    from bootd.cli import daemon, offline


def add_offline(parser: ArgumentParser) -> None:
    """Declare ``--offline``."""
    parser.add_argument(
        "--offline", action="store_true", help="read the disk instead of asking the daemon"
    )


def look(arguments: Namespace, member: str, *given: Any, **options: Any) -> dict[str, Any]:
    """Return the document that a method of the Manager answers, from the daemon or from the disk.

    Args:
        arguments: the command line.
        member: the method.
        given: its arguments but for the options.
        options: these.

    Raises:
        BootdError: there is no answer.
    """
    if arguments.offline or arguments.sysroot is not None:
        return offline.answer(arguments, member, *given, **options)
    document = json.loads(daemon.ask(arguments, member, *given, **options))
    assert isinstance(document, dict)
    return document
