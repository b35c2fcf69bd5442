"""Programs and libraries are in /usr."""

from __future__ import annotations

from collections.abc import Iterator

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint


def _look(image: ImageRoot) -> Iterator[Found]:
    for path in ("bin", "sbin", "lib", "lib64"):
        if image.kind(path) == "folder":
            yield Found(path, "is a real folder")


LINT = Lint(
    rule=LintRule(
        id="merged-usr",
        severity=LintSeverity.WARNING,
        reason=(
            "Kernel modules and units are looked up in /usr; what lies in a real /lib, /bin "
            "or /sbin may be missed."
        ),
        mend="Build from a base with a merged /usr, where these are symlinks into it.",
    ),
    look=_look,
)
