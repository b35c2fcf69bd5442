"""What verbs that stage a deployment share."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from bootd.cli.output import Output


def add_force(parser: ArgumentParser) -> None:
    """Declare ``--force``."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="go on although updates are held or the image failed on this machine",
    )


def finish(document: Mapping[str, Any], output: Output) -> None:
    """Print what was done and how it takes effect."""
    output.show(document)
    if document.get("kind") == "Stage" and document.get("changed"):
        output.note("It boots next; 'bootctl-py apply' restarts into it now.")
