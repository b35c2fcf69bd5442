"""What pydantic found wrong with a value that comes from outside, in the words of one line."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_MAX_PART: Final = 100
"""Characters of a key that are shown; a key comes from outside, too."""


def first_error(error: ValidationError) -> ErrorDetails:
    """Return the first thing that is wrong, without the value: that may be a secret."""
    return error.errors(include_url=False, include_input=False)[0]


def in_words(error: ValidationError, *within: str) -> str:
    """Return the place of the first thing that is wrong, with dots, and what is wrong there.

    Args:
        error: what pydantic raised.
        within: the keys that lead to what was validated.
    """
    first = first_error(error)
    place = ".".join(str(part)[:_MAX_PART] for part in (*within, *first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
