"""Which parts of a blob to ask for. Pure.

A request costs about as much as some bytes more would, so wanted parts that are close together are
asked for as one. The closest go first, and what is fetched in vain stays in proportion to what is
wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from bootd.store.table.annotations import Span
from bootd.store.table.rows import FileRows

REQUEST_BYTES: Final = 64 << 10
"""What a request costs beside its bytes: with 10 Mbit/s, these take as long as a round trip of
50 ms; with more of both, the same."""
GAP_LIMIT: Final = REQUEST_BYTES
WASTE_FLOOR: Final = 16 << 10
WASTE_SHARE: Final = 8
"""An eighth of what is wanted may be fetched beside it."""


def plan_spans(rows: FileRows, wanted: Iterable[int]) -> list[Span]:
    """Return the parts of the blob that hold the wanted rows, in order, far enough apart."""
    parts = [Span(rows.starts[row], rows.ends[row]) for row in wanted]
    budget = sum(part.size for part in parts) // WASTE_SHARE + WASTE_FLOOR
    gaps = [after.start - before.end for before, after in pairwise(parts)]
    joined = set()
    for place in sorted(range(len(gaps)), key=gaps.__getitem__):
        budget -= gaps[place]
        if gaps[place] > GAP_LIMIT or budget < 0:
            break
        joined.add(place)
    spans: list[Span] = []
    for place, part in enumerate(parts):
        if place - 1 in joined:
            spans[-1] = Span(spans[-1].start, part.end)
        else:
            spans.append(part)
    return spans


def is_worthwhile(spans: list[Span], blob_size: int) -> bool:
    """Return whether asking for the parts is cheaper than the whole blob in one go."""
    cost = sum(span.size for span in spans) + len(spans) * REQUEST_BYTES
    return cost < blob_size
