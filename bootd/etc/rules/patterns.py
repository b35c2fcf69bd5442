"""Patterns of paths of ``/etc`` as regular expressions. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from bootd.model.etc.report import etc_path

_WILD: Final = re.compile(r"\*\*|\*|\?|\[!?[^]/]+\]|.", re.DOTALL)
_WILDCARDS: Final = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


def matches(patterns: Iterable[re.Pattern[str]], path: bytes) -> bool:
    """Tell whether one of some patterns is that of a path, which is relative to ``/etc``."""
    text = etc_path(path)
    return any(pattern.fullmatch(text) for pattern in patterns)


def compiled(patterns: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """Return patterns as regular expressions, in their order."""
    return tuple(
        re.compile("".join(map(_piece, _WILD.findall(one))), re.DOTALL) for one in patterns
    )


def _piece(token: str) -> str:
    if token in _WILDCARDS:
        return _WILDCARDS[token]
    if len(token) > 1:
        inverted = token[1] == "!"
        characters = re.escape(token[1 + inverted : -1]).replace(r"\-", "-")
        return f"[{'^/' if inverted else ''}{characters}]"
    return re.escape(token)
