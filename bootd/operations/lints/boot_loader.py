"""The image brings the boot loader that an installation puts on a disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.boot.loader.install import EFI_NAMES, LOADER_FOLDER
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_PREFIX: Final = "systemd-boot"


def _look(image: ImageRoot) -> Iterator[Found]:
    # The machine that lints may be of another architecture than the image.
    known = tuple(f"{_PREFIX}{name}.efi" for name in EFI_NAMES.values())
    if not any(name.startswith(known) for name in image.names(LOADER_FOLDER)):
        yield Found(LOADER_FOLDER, f"has no {_PREFIX}")


LINT = Lint(
    rule=LintRule(
        id="boot-loader",
        severity=LintSeverity.WARNING,
        reason=(
            "An installation takes the boot loader from the image, so this one can be upgraded "
            "to and not installed."
        ),
        mend="Install systemd-boot-efi, or whatever has systemd-boot in the distribution.",
    ),
    look=_look,
)
