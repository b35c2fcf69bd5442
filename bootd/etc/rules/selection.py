"""Which paths of ``/etc`` somebody means: a path with all that is below it, or a pattern. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from bootd.etc.rules.patterns import compiled
from bootd.model.errors import InvalidArgumentError
from bootd.model.etc.report import asked_below_etc

_MOST_STARS: Final = 4
"""Stars in one pattern; with more, a path could take long to be compared."""


@dataclass(frozen=True, slots=True)
class Selection:
    """One path or pattern, as reports print paths; patterns are those of ``[etc.policy]``.

    Attributes:
        named: what was written.

    Raises:
        InvalidArgumentError: it is not below ``/etc``.
    """

    named: str
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        named = self.named.rstrip("/")
        asked_below_etc(self.named)
        object.__setattr__(self, "named", named)
        object.__setattr__(self, "_pattern", _compiled(named))

    def takes(self, path: str) -> bool:
        """Tell whether a path, as reports print it, is meant."""
        return (
            path == self.named
            or path.startswith(f"{self.named}/")
            or self._pattern.fullmatch(path) is not None
        )

    def is_below(self, path: str) -> bool:
        """Tell whether what is meant lies in a folder, of which as a whole something is told."""
        return self.named.startswith(f"{path}/")


def _compiled(pattern: str) -> re.Pattern[str]:
    if pattern.replace("**", "*").count("*") > _MOST_STARS:
        raise InvalidArgumentError(f"{pattern[:200]!r} has more than {_MOST_STARS} stars")
    return compiled([pattern])[0]
