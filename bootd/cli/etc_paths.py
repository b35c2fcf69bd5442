"""Paths of ``/etc`` on the command line, and what to say after some were changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from bootd.cli.output import Output
from bootd.model.etc_report import escape


def absolute(path: str) -> str:
    """Return a path as reports print it; one that is relative starts at the working directory.

    One with a backslash is taken for a path that a report printed.
    """
    whole = os.path.normpath(os.path.join(os.getcwd(), path))  # noqa: PTH109, PTH118 - links stay
    return whole if "\\" in whole else escape(os.fsencode(whole))


def explain_undo(document: Mapping[str, Any], output: Output) -> None:
    """Say how a change is taken back."""
    if document.get("kept_as"):
        output.note(f"'bootctl-py etc restore {document['kept_as']}' takes it back.")
