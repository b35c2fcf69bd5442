"""What there is to say about a database of accounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bootd.etc.accounts.records import GROUP, GSHADOW, PASSWD, SHADOW

WORD: Final = {PASSWD: "user", SHADOW: "user", GROUP: "group", GSHADOW: "group"}
"""What a row of a database is about."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to tell about a database; a conflict is what somebody may have to decide."""

    database: str
    text: str
    conflict: bool
