"""Which of the places of an image served what, and why one was passed over."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from bootd.model.readers import Guarded, Shown


class SourceUse(BaseModel):
    """What a place did for a job: a mirror, or the registry itself."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    location: Shown
    """Host and path, as registries.conf has it."""
    answers: int = 0
    """How many manifests, configurations, layers and parts of layers it served to their end."""
    layer_bytes: int = 0
    """How many bytes of layers came from there, be it to their end or not."""
    passed_over: Guarded | None = None
    """Why another place was asked instead of it, the last time; None: that was not so."""


def merged(uses: Iterable[SourceUse]) -> list[SourceUse]:
    """Return one for each place, in the order in which they come first."""
    known: dict[str, SourceUse] = {}
    for use in uses:
        before = known.get(use.location, SourceUse(location=use.location))
        known[use.location] = SourceUse(
            location=use.location,
            answers=before.answers + use.answers,
            layer_bytes=before.layer_bytes + use.layer_bytes,
            passed_over=use.passed_over or before.passed_over,
        )
    return list(known.values())
