"""Whether an image is an older release than another: what keeps an old one from coming back.

Who can serve under a tag, a mirror that lags or somebody between, could serve an image of last year
with holes that are known since, signature and all (The Update Framework, "rollback attack").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bootd.boot.loader.order import compare_versions

_NUMBER: Final = re.compile(r"[0-9]+")
_MAX_VERSION: Final = 200
_LEEWAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Release:
    """What an image says of its age.

    Attributes:
        created: when it was built (image-spec, config.md, "created"), or None.
        version: its version label, or empty.
    """

    created: datetime | None
    version: str


def why_older(candidate: Release, known: Release, now: datetime) -> str | None:
    """Return in words why a release is older than one that this machine took; None: it is not.

    It is older if it was built earlier, unless its version is higher; and if both were built at one
    time, as builds that can be repeated say, or nothing is known of that, if its version is lower.
    Versions are compared only where they are written alike: ``stable`` and ``v2`` have no order.

    Args:
        candidate: the release that is offered.
        known: the release that this machine took.
        now: the time; what was built in the future says nothing.
    """
    versions = _compare_versions(candidate.version, known.version)
    built, before = _believed(candidate.created, now), _believed(known.created, now)
    if built is not None and before is not None and built != before:
        if built > before or versions > 0:
            return None
        return (
            f"it was built on {built:%Y-%m-%d %H:%M}, and the one here on {before:%Y-%m-%d %H:%M}"
        )
    if versions >= 0:
        return None
    return f"its version is {candidate.version}, and here is {known.version}"


def _compare_versions(first: str, second: str) -> int:
    """Return -1, 0 or 1 as `compare_versions`; 0 where they are not written alike."""
    alike = _NUMBER.sub("0", first) == _NUMBER.sub("0", second)
    if not alike or max(len(first), len(second)) > _MAX_VERSION:
        return 0
    return compare_versions(first, second)


def _believed(created: datetime | None, now: datetime) -> datetime | None:
    if created is None or created.tzinfo is None or created > now + _LEEWAY:
        return None
    return created
