"""The program that shows a long text a page at a time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Final

from bootd.process import feed

_PAGER: Final = "less"
_LESS: Final = "FRSXMK"
"""As systemd's tools set it: leave short output on the screen, let colours through."""


def page(text: str, environment: Mapping[str, str]) -> bool:
    """Show a text in the pager that is asked for, if there is one; return whether that was done.

    Args:
        text: without the end of its last line.
        environment: ``SYSTEMD_PAGER``, ``PAGER`` and ``SYSTEMD_LESS`` count.

    Raises:
        ProcessFailedError: the pager could not be started.
    """
    words = environment.get("SYSTEMD_PAGER", environment.get("PAGER", _PAGER)).split()
    if not words or words == ["cat"] or shutil.which(words[0]) is None:
        return False
    feed(words, text.encode() + b"\n", {"LESS": environment.get("SYSTEMD_LESS") or _LESS})
    return True
