"""Marks the functions of this folder that make text of a kind of document.

It loads nothing: the text of a status has to be quick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from bootd.cli.style import Style

_Text = TypeVar("_Text", bound=Callable[[Any, Style], str])

MARKED: Final[list[Callable[[Any, Style], str]]] = []
"""Those of all modules that are loaded."""


def renders(text: _Text) -> _Text:
    """Mark what makes text of its first argument, a document; to be marked is all it takes."""
    MARKED.append(text)
    return text
