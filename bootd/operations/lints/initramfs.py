"""The initramfs knows how to mount a deployment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.boot.kernels.image_kernel import IMAGE_INITRAMFS
from bootd.model.errors import BootdError
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.initramfs import member_names, what_is_wrong
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint
from bootd.operations.lints.kernel import kernel_folders

PROGRAM: Final = "bootd-root"


def _look(image: ImageRoot) -> Iterator[Found]:
    for folder in kernel_folders(image):
        name = next(
            (name for name in IMAGE_INITRAMFS if image.kind(f"{folder}/{name}") == "file"), None
        )
        if name is None:
            continue
        path = f"{folder}/{name}"
        try:
            with image.path(path).open("rb") as stream:
                has_it = any(is_ours(member) for member in member_names(stream))
        except BootdError as error:
            yield Found(
                path, f"cannot be looked into: {what_is_wrong(error)}", LintSeverity.WARNING
            )
        else:
            if not has_it:
                yield Found(path, f"has no {PROGRAM} in it")


def is_ours(member: str) -> bool:
    """Tell whether a file of an initramfs is what mounts the deployment."""
    return member.rpartition("/")[2] == PROGRAM


LINT = Lint(
    rule=LintRule(
        id="initramfs",
        severity=LintSeverity.FATAL,
        reason=(
            "Without bootd in it the initramfs does not find its root, and the machine falls back."
        ),
        mend=(
            "Install bootd's integration for dracut or initramfs-tools before the initramfs "
            "is built, and build it anew."
        ),
    ),
    look=_look,
)
