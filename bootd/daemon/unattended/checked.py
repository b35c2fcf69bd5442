"""What callers give, checked before it goes any further."""

from __future__ import annotations

from typing import Final

from bootd.model.errors import InvalidArgumentError
from bootd.registry.reference import parse_reference

_MAX_TEXT: Final = 4_096
_MAX_PATHS: Final = 1_000
"""So that a request to the worker stays below its bound, however long the paths are."""


def checked(text: str, what: str) -> str:
    """Return a printable line.

    Args:
        text: what a caller gave.
        what: what it is called in the refusal.

    Raises:
        InvalidArgumentError: it is none, or too long.
    """
    if not 0 < len(text) <= _MAX_TEXT or not text.isprintable():
        raise InvalidArgumentError(
            f"{what} must be printable text of 1 to {_MAX_TEXT} characters, not {text[:100]!r}"
        )
    return text


def checked_reference(text: str) -> str:
    """Return the reference of an image.

    Raises:
        InvalidReferenceError, InvalidArgumentError: it is none.
    """
    # A job's error is for all to read; what is no reference may be a password, and is not.
    parse_reference(text)
    return checked(text, "reference")


def checked_list(paths: list[str]) -> list[str]:
    """Return paths.

    Raises:
        InvalidArgumentError: they are none, or too many.
    """
    if not 0 < len(paths) <= _MAX_PATHS:
        raise InvalidArgumentError(f"name 1 to {_MAX_PATHS} paths, not {len(paths)}")
    return [checked(path, "path") for path in paths]


def checked_words(words: list[str]) -> list[str]:
    """Return kernel arguments, of which nothing but the size is looked at.

    Raises:
        InvalidArgumentError: they are too many.
    """
    # What is no argument is refused by the job; this is so that its request has a bound.
    if sum(map(len, words)) > _MAX_TEXT or len(words) > _MAX_PATHS:
        raise InvalidArgumentError(
            f"kernel arguments of {sum(map(len, words))} characters are more than a kernel takes"
        )
    return words
