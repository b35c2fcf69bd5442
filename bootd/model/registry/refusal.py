"""What makes an image unfit for every host: one rule that it breaks, and where.

Whoever stages an image raises the first; the linter tells all of them. So both have the same rules.
"""

from __future__ import annotations

from typing import NamedTuple

from bootd.model.errors import ContentError


class Refusal(NamedTuple):
    """One reason why no host takes an image.

    Attributes:
        path: where in the image, from its root.
        error: what is raised for it.
    """

    path: str
    error: ContentError
