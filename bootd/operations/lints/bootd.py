"""bootd itself is in the image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image_root import ImageRoot
from bootd.operations.lint import Found, Lint

_VENDOR: Final = "usr/lib/systemd/system"
_TREES: Final = ("etc/systemd/system", "usr/etc/systemd/system", _VENDOR)
_PROGRAMS: Final = ("usr/bin/bootctl-py", "usr/libexec/bootd")
_UNITS: Final = ("bootd-bless.service", "bootd-health.service", "bootd.service")


def _look(image: ImageRoot) -> Iterator[Found]:
    for path in _PROGRAMS:
        if image.kind(path) == "nothing":
            yield Found(path, "is missing")
    for unit in _UNITS:
        if image.kind(f"{_VENDOR}/{unit}") == "nothing":
            yield Found(f"{_VENDOR}/{unit}", "is missing")
        elif image.kind(f"etc/systemd/system/{unit}") == "symlink":
            yield Found(f"etc/systemd/system/{unit}", "is masked or replaced")
        elif not _is_enabled(image, unit):
            yield Found(f"{_VENDOR}/{unit}", "is not enabled")


def _is_enabled(image: ImageRoot, unit: str) -> bool:
    """Tell whether a target of the image pulls a unit in."""
    return any(
        unit in image.names(f"{tree}/{folder}")
        for tree in _TREES
        for folder in image.names(tree)
        if folder.endswith((".wants", ".requires"))
    )


LINT = Lint(
    rule=LintRule(
        id="bootd",
        severity=LintSeverity.FATAL,
        reason=(
            "A host without bootd cannot keep the image: nothing takes the counter off its "
            "boot entry, and after three boots the loader goes back."
        ),
        mend="Install the packages of bootd in the image and leave its units enabled.",
    ),
    look=_look,
)
