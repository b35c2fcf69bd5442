"""The image says what it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_PATHS: Final = ("etc/os-release", "usr/etc/os-release", "usr/lib/os-release")
_VERSIONS: Final = ("VERSION_ID", "IMAGE_VERSION", "VERSION")


def _look(image: ImageRoot) -> Iterator[Found]:
    path = next((one for one in _PATHS if image.read(one)), None)
    if path is None:
        yield Found(_PATHS[-1], "is missing or empty")
        return
    keys = {line.partition("=")[0].strip() for line in image.text(path).splitlines()}
    if "ID" not in keys:
        yield Found(path, "has no ID")
    if keys.isdisjoint(_VERSIONS):
        yield Found(path, f"has none of {', '.join(_VERSIONS)}")


LINT = Lint(
    rule=LintRule(
        id="os-release",
        severity=LintSeverity.WARNING,
        reason="os-release(5) is how boot menu, status and people tell versions apart.",
        mend=(
            "Set ID and VERSION_ID (or IMAGE_VERSION) in /usr/lib/os-release; /etc/os-release "
            "is a symlink to it."
        ),
    ),
    look=_look,
)
