"""The image can check and mend the boot partition before it is mounted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_PROGRAM: Final = "fsck.vfat"
_FOLDERS: Final = ("usr/sbin", "usr/bin", "sbin")


def _look(image: ImageRoot) -> Iterator[Found]:
    if not any(_PROGRAM in image.names(folder) for folder in _FOLDERS):
        yield Found(_FOLDERS[0], f"has no {_PROGRAM}")


LINT = Lint(
    rule=LintRule(
        id="boot-partition-check",
        severity=LintSeverity.WARNING,
        reason=(
            "VFAT keeps no journal. What a power cut leaves on the boot partition is mended when "
            "systemd checks it before mounting; else Linux may go on with it read-only, and no "
            "upgrade or rollback is possible."
        ),
        mend="Install dosfstools.",
    ),
    look=_look,
)
