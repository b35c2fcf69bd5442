"""No entry is too long, too deep or has too many extended attributes."""

from __future__ import annotations

from collections.abc import Iterator

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint
from bootd.store.images.tree_limits import limit_refusals


def _look(image: ImageRoot) -> Iterator[Found]:
    for path, error in limit_refusals(image.tree):
        yield Found(path, error.message)


LINT = Lint(
    rule=LintRule(
        id="limits",
        severity=LintSeverity.FATAL,
        reason=(
            "An image with an entry that composefs cannot hold, or that is too much for a host's "
            "memory, is refused."
        ),
        mend="Shorten what is named, or take extended attributes away (setfattr -x).",
    ),
    look=_look,
)
