"""The program that shows a long text a page at a time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Final

from bootd.process import feed

_PAGER: Final = "less"
_LESS: Final = "FRSXMK"
"""As systemd's tools set it: leave the text on the screen, let colours through, cut long lines."""


def page(text: bytes, environment: Mapping[str, str]) -> bool:
    """Show a text in the pager that is asked for, if there is one; return whether that was done.

    Args:
        text: in the terminal's character set, without the end of its last line.
        environment: ``SYSTEMD_PAGER``, ``PAGER`` and ``SYSTEMD_LESS`` count, and ``TERM``: one
            cannot page on a terminal that is dumb.

    Raises:
        ProcessFailedError: the pager could not be started.
    """
    words = environment.get("SYSTEMD_PAGER", environment.get("PAGER", _PAGER)).split()
    if not words or words == ["cat"] or environment.get("TERM") == "dumb":
        return False
    if shutil.which(words[0]) is None:
        return False
    feed(words, text + b"\n", {"LESS": environment.get("SYSTEMD_LESS") or _LESS})
    return True
