"""Verbs that only look: they ask the daemon, or read the disk where that is wanted."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import Any


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

    Each side is imported when it is wanted: the bus costs as much time as all the rest.

    Raises:
        BootdError: there is no answer.
    """
    if arguments.offline or arguments.sysroot is not None:
        from bootd.cli.offline import answer  # noqa: PLC0415

        return answer(arguments, member, *given, **options)
    from bootd.cli.daemon import ask  # noqa: PLC0415

    document = json.loads(ask(arguments, member, *given, **options))
    assert isinstance(document, dict)
    return document
