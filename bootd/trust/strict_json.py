"""JSON whose meaning no two readers can see differently.

A key that stands twice, or that nobody knows, makes the whole document invalid: what one program
skips another may obey.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Collection
from typing import Any, Final

MAX_DEPTH: Final = 32


class InvalidJsonError(ValueError):
    """A document is not what its format promises; the text says what is wrong, and where."""


def parse_json(data: bytes | str, what: str) -> Any:
    """Return the value of a document.

    Args:
        data: the document.
        what: its name, for messages.

    Raises:
        InvalidJsonError: it is not JSON, a key stands twice in an object, or it is nested deeper
            than `MAX_DEPTH`.
    """
    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise InvalidJsonError(f"{what} is nested too deep") from error
    except InvalidJsonError as error:
        raise InvalidJsonError(f"{what}: {error}") from error
    except ValueError as error:
        raise InvalidJsonError(f"{what} is not JSON: {error}") from error
    _check_depth(value, MAX_DEPTH, what)
    return value


def fields(value: Any, what: str, required: Collection[str], allowed: Collection[str] = ()) -> Any:
    """Return an object that has all required keys, and besides them only allowed ones.

    Raises:
        InvalidJsonError: it is no object, or a key is missing or unknown.
    """
    if not isinstance(value, dict):
        raise InvalidJsonError(f"{what} is not an object")
    for key in value:
        if key not in required and key not in allowed:
            raise InvalidJsonError(f"{what} has the unknown key {key[:100]!r}")
    for key in required:
        if key not in value:
            raise InvalidJsonError(f"{what} has no {key!r}")
    return value


def text(value: Any, what: str) -> str:
    """Return a string.

    Raises:
        InvalidJsonError: it is something else.
    """
    if not isinstance(value, str):
        raise InvalidJsonError(f"{what} is not a string")
    return value


def integer(value: Any, what: str) -> int:
    """Return a whole number of 64 bits.

    Raises:
        InvalidJsonError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
        raise InvalidJsonError(f"{what} is not a whole number")
    return value


def from_base64(value: Any, what: str) -> bytes:
    """Return the bytes of a string in base64 (RFC 4648, section 4).

    Raises:
        InvalidJsonError: it is no string, or not base64.
    """
    try:
        # Go skips line ends in it; so do those who wrote such policies.
        return base64.b64decode(text(value, what).translate({10: None, 13: None}), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidJsonError(f"{what} is not base64") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise InvalidJsonError(f"the key {twice[:100]!r} stands twice")
    return value


def _refuse_constant(name: str) -> None:
    raise InvalidJsonError(f"{name} is no JSON")


def _check_depth(value: Any, left: int, what: str) -> None:
    if not left:
        raise InvalidJsonError(f"{what} is nested too deep")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        _check_depth(one, left - 1, what)
