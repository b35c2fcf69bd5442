"""One kernel, and an initramfs beside it."""

from __future__ import annotations

from collections.abc import Iterator

from bootd.boot.kernels.image_kernel import IMAGE_KERNEL, kernel_refusals
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint


def _look(image: ImageRoot) -> Iterator[Found]:
    for path, error in kernel_refusals(image.tree):
        yield Found(path, error.message)


def kernel_folders(image: ImageRoot) -> list[str]:
    """Return the folders that hold a kernel, from the image's root."""
    folders = (f"usr/lib/modules/{name}" for name in image.names("usr/lib/modules"))
    return [path for path in folders if image.kind(f"{path}/{IMAGE_KERNEL}") != "nothing"]


LINT = Lint(
    rule=LintRule(
        id="kernel",
        severity=LintSeverity.FATAL,
        reason=(
            "A host boots the one kernel of its image, /usr/lib/modules/VERSION/vmlinuz, with "
            "the initramfs.img beside it; a unified kernel image (UKI) is not supported."
        ),
        mend=(
            "Install one kernel, copy it to /usr/lib/modules/VERSION/vmlinuz and build the "
            "initramfs there."
        ),
    ),
    look=_look,
)
