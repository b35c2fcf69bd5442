"""The defaults of /etc are in one place."""

from __future__ import annotations

from collections.abc import Iterator

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint
from bootd.store.images.host_layout import layout_refusals


def _look(image: ImageRoot) -> Iterator[Found]:
    for path, error in layout_refusals(image.tree, image.os_release):
        yield Found(path, error.message)


LINT = Lint(
    rule=LintRule(
        id="etc-twice",
        severity=LintSeverity.FATAL,
        reason=(
            "The defaults of /etc are what the image has in /etc or in /usr/etc; with both "
            "nobody knows which. On openSUSE /usr/etc is the packages', and /etc has the defaults."
        ),
        mend="Keep one of the two; /etc is what packages and builders write.",
    ),
    look=_look,
)
