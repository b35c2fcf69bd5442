"""bootd itself is in the image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_VENDOR: Final = "usr/lib/systemd/system"
_TREES: Final = ("etc/systemd/system", "usr/etc/systemd/system", _VENDOR)
_PROGRAMS: Final = ("usr/bin/bootctl-py", "usr/libexec/bootd")
_ENABLED: Final = (
    "bootd-bless.service",
    "bootd-deadline.timer",
    "bootd-health.service",
    "bootd.service",
)
_WANTED: Final = ("bootd-boot-array.service", "bootd-derive.service")
"""Needed where they are there. Without the first an array with the boot partition is mounted with
halves that differ; without the second machines keep derived files of ``/etc`` as they were."""
_STARTED: Final = ("bootd-deadline.service", "bootd-finalize.service", "bootd-trial-failed.service")
"""By the others, so they are not enabled."""


def _look(image: ImageRoot) -> Iterator[Found]:
    for path in _PROGRAMS:
        if image.kind(path) == "nothing":
            yield Found(path, "is missing")
    for unit in (*_ENABLED, *_WANTED, *_STARTED):
        severity = LintSeverity.WARNING if unit in _WANTED else None
        if image.kind(f"{_VENDOR}/{unit}") == "nothing":
            if unit not in _WANTED:
                yield Found(f"{_VENDOR}/{unit}", "is missing")
        elif replacement := _replacement(image, unit):
            yield Found(replacement, "is masked or replaced", severity)
        elif unit not in _STARTED and not _is_enabled(image, unit):
            yield Found(f"{_VENDOR}/{unit}", "is not enabled", severity)


def _replacement(image: ImageRoot, unit: str) -> str | None:
    paths = (f"{tree}/{unit}" for tree in _TREES if tree != _VENDOR)
    return next((path for path in paths if image.kind(path) in ("symlink", "file")), None)


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
