"""One kernel, and an initramfs beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.boot.kernel import IMAGE_INITRAMFS, IMAGE_KERNEL
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image_root import ImageRoot
from bootd.operations.lint import Found, Lint

_SHOWN: Final = 5
_LEAST: Final = 65
"""Up to 64 bytes are not kept as an object that could be copied to $BOOT."""


def _look(image: ImageRoot) -> Iterator[Found]:
    found = kernel_folders(image)
    if not found:
        yield Found("usr/lib/modules", f"no folder in it has a {IMAGE_KERNEL}")
    if len(found) > 1:
        yield Found("usr/lib/modules", f"{len(found)} kernels: {', '.join(found[:_SHOWN])}")
    for folder in found:
        names = [name for name in IMAGE_INITRAMFS if image.kind(f"{folder}/{name}") != "nothing"]
        if not names:
            yield Found(folder, f"has a {IMAGE_KERNEL} and no {' or '.join(IMAGE_INITRAMFS)}")
        for name in (IMAGE_KERNEL, *names[:1]):
            path = f"{folder}/{name}"
            if image.kind(path) != "file":
                yield Found(path, f"is not a regular file but a {image.kind(path)}")
            elif len(image.read(path)) < _LEAST:
                yield Found(path, "has too few bytes for what it is")


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
            "the initramfs.img beside it."
        ),
        mend=(
            "Install one kernel, copy it to /usr/lib/modules/VERSION/vmlinuz and build the "
            "initramfs there."
        ),
    ),
    look=_look,
)
