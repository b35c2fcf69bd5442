"""The options dictionary that ends the arguments of every method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootd.model.errors import InvalidArgumentError

_TYPE_NAMES = {
    bool: "a boolean",
    int: "a number",
    str: "a string",
    list: "a list of strings",
}


def take_options(
    given: Mapping[str, Any], **known: type[bool | int | str | list[str]]
) -> dict[str, Any]:
    """Return the options of a call.

    Args:
        given: what the caller sent.
        known: the type of each option the method has.

    Raises:
        InvalidArgumentError: an option that the method has not, or of another type.
    """
    for name, value in given.items():
        if name not in known:
            raise InvalidArgumentError(
                f"unknown option {name[:100]!r}",
                hint=f"Options of this method: {', '.join(sorted(known)) or 'none'}.",
            )
        is_list = isinstance(value, list) and all(isinstance(one, str) for one in value)
        if type(value) is not known[name] or (known[name] is list and not is_list):
            raise InvalidArgumentError(f"option {name!r} must be {_TYPE_NAMES[known[name]]}")
    return dict(given)
