"""Patterns of paths of ``/etc`` as regular expressions. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from bootd.model.etc.report import etc_path

_WILD: Final = re.compile(r"\*\*|\*|\?|\[!?[^]/]+\]|.", re.DOTALL)
_MEMBERS: Final = re.compile(r"(.)-(.)|(.)", re.DOTALL)
_NOTHING: Final = "(?!)"
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
        characters = _characters(token[1 + inverted : -1])
        if inverted:
            return f"[^/{characters}]"
        return f"[{characters}]" if characters else _NOTHING
    return re.escape(token)


def _characters(text: str) -> str:
    """Return what stands in brackets; a range that runs backwards has no character (glob(7))."""
    members = []
    for first, last, single in _MEMBERS.findall(text):
        if single:
            members.append(re.escape(single))
        elif first <= last:
            members.append(f"{re.escape(first)}-{re.escape(last)}")
    return "".join(members)
