"""Names that are not UTF-8."""

from __future__ import annotations

from collections.abc import Iterator

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint


def _look(image: ImageRoot) -> Iterator[Found]:
    for path in image.leaves(""):
        try:
            path.encode()
        except UnicodeEncodeError:
            yield Found(path, "is not UTF-8")


LINT = Lint(
    rule=LintRule(
        id="names",
        severity=LintSeverity.WARNING,
        reason=(
            "JSON and D-Bus carry UTF-8, so such a name shows escaped, and some tools cannot "
            "handle it."
        ),
        mend="Rename it, or remove the package that brings it.",
    ),
    look=_look,
)
