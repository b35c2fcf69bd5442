"""WWW-Authenticate headers (RFC 9110 section 11.6.1). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_MAX_HEADER: Final = 16 << 10
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))')
_SCHEME: Final = re.compile(rf"({_WORD})(?:[ \t]+|(?=,)|$)")
_SEPARATORS: Final = re.compile(r"[ \t,]+")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate: the scheme in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """Return the challenges of a header; reading stops at the first thing that is not one."""
    text = header[:_MAX_HEADER]
    challenges: list[Challenge] = []
    place = 0
    while place < len(text):
        if match := _SEPARATORS.match(text, place):
            place = match.end()
        elif challenges and (match := _PARAMETER.match(text, place)):
            quoted = match[2]
            value = match[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            challenges[-1].parameters[match[1].lower()] = value
            place = match.end()
        elif match := _SCHEME.match(text, place):
            challenges.append(Challenge(match[1].lower(), {}))
            place = match.end()
        else:
            break
    return challenges
