"""Expressions that look ahead or back, matched one by one by the standard library's engine.

No policy of a distribution has such; some local ones do. The engine goes back and tries again, so
what it may come to is worked out before: an expression in which something variable is repeated is
refused, which leaves a power of the path's length, and that is counted as work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from bootd.store.selinux.expression import ExpressionError

_TOKEN: Final = re.compile(
    rb"\\.|\[\^?\]?(?:\\.|\[:\^?[a-z]+:\]|[^\]\\])*\]|\((?:\?(?:<?[=!]|:))?|\)|\||[*+]|\?"
    rb"|\{[0-9]*,?[0-9]*\}|.",
    re.DOTALL,
)
_REPEATS: Final = (b"*", b"+", b"{")
_CHEAPER: Final = 64
"""Steps of that engine that take the time of one step of the automaton."""


@dataclass(frozen=True, slots=True)
class LookAround:
    """One such expression.

    Attributes:
        number: of its specification.
        pattern: matches whole paths.
        power: how often something is repeated without a bound.
        branches: a bound of how many ways there are besides.
    """

    number: int
    pattern: re.Pattern[bytes]
    power: int
    branches: int

    def work(self, path: bytes) -> int:
        """Return the most work that it can be to match a path, in steps of the automaton."""
        ways: int = (len(path) + 1) ** max(self.power, 1)
        return self.branches * ways // _CHEAPER + 1

    def matches(self, path: bytes) -> bool:
        """Return whether it is for a path."""
        return self.pattern.fullmatch(path) is not None


def look_around(text: bytes, number: int) -> LookAround:
    """Return what matches an expression.

    Raises:
        ExpressionError: it cannot be used, or what it may come to has no bound.
    """
    if b"[:" in text:
        raise ExpressionError("looks ahead or back, and has a class in brackets")
    power = ways = 0
    variable = [False]
    closed = False
    """Whether what was read last is variable."""
    for token in _TOKEN.findall(text):
        before, closed = closed, False
        if token.startswith(b"("):
            variable.append(False)
        elif token == b")":
            closed = variable.pop() if len(variable) > 1 else False
            variable[-1] |= closed
        elif token in (b"|", b"?"):
            ways += 1
            variable[-1] = True
        elif token.startswith(_REPEATS):
            if before:
                raise ExpressionError("looks ahead or back, and repeats what varies")
            power += 1
            variable[-1] = True
    try:
        pattern = re.compile(text, re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        raise ExpressionError(f"looks ahead or back, and cannot be used: {error}") from error
    return LookAround(number, pattern, power, 1 << min(ways, 64))
