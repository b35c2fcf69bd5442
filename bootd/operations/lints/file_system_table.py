"""The mount table leaves the root alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_OURS: Final = frozenset({"/", "/etc", "/var", "/usr", "/sysroot"})


def _look(image: ImageRoot) -> Iterator[Found]:
    for path in ("etc/fstab", "usr/etc/fstab"):
        for line in image.text(path).splitlines():
            words = line.split()
            if len(words) > 1 and not words[0].startswith("#") and words[1] in _OURS:
                yield Found(path, f"has a line for {words[1]}")


LINT = Lint(
    rule=LintRule(
        id="file-system-table",
        severity=LintSeverity.WARNING,
        reason=(
            "The initramfs mounts the root, /etc and /var of a deployment; a line for one of "
            "them makes systemd mount something else over it, or fail."
        ),
        mend="Remove the line from /etc/fstab.",
    ),
    look=_look,
)
