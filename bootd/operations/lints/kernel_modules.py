"""Kernel and initramfs can mount the root of a deployment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from bootd.boot.kernels.image_kernel import IMAGE_INITRAMFS
from bootd.model.errors import BootdError
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.initramfs import member_names
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint
from bootd.operations.lints.kernel import kernel_folders
from bootd.store.mount import MINIMUM_KERNEL

_NEEDED: Final = ("erofs", "loop", "overlay")
_MODULE: Final = re.compile(r"([a-z0-9_-]+)\.ko(?:\.[a-z0-9]+)?")


def _look(image: ImageRoot) -> Iterator[Found]:
    for folder in kernel_folders(image):
        version = folder.rpartition("/")[2]
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers and (int(numbers[1]), int(numbers[2])) < MINIMUM_KERNEL:
            yield Found(folder, f"is older than {'.'.join(map(str, MINIMUM_KERNEL))}")
        yield from _missing(image, folder)


def _missing(image: ImageRoot, folder: str) -> Iterator[Found]:
    lists = [image.text(f"{folder}/modules.{name}") for name in ("builtin", "dep")]
    if not any(lists):
        # Nothing says what this kernel has; modules of other names than depmod's are rare enough.
        return
    builtin, loadable = (set(_modules(text.split())) for text in lists)
    for name in _NEEDED:
        if name not in builtin | loadable:
            yield Found(folder, f"has no {name} module")
    wanted = [name for name in _NEEDED if name in loadable - builtin]
    path = next(
        (f"{folder}/{name}" for name in IMAGE_INITRAMFS if _is_file(image, folder, name)), None
    )
    if wanted and path is not None:
        try:
            with image.path(path).open("rb") as stream:
                there = set(_modules(member_names(stream)))
        except BootdError:
            return  # said by the lint of the initramfs
        yield from (Found(path, f"lacks the {name} module") for name in wanted if name not in there)


def _is_file(image: ImageRoot, folder: str, name: str) -> bool:
    return image.kind(f"{folder}/{name}") == "file"


def _modules(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        found = _MODULE.fullmatch(path.rstrip(":").rpartition("/")[2])
        if found:
            yield found[1]


LINT = Lint(
    rule=LintRule(
        id="kernel-modules",
        severity=LintSeverity.FATAL,
        reason=(
            "The root of a deployment is an EROFS image on a loop device, under an overlay with a "
            "data-only layer, which Linux has since 6.6. What cannot be mounted does not boot."
        ),
        mend=(
            "Take a newer kernel with all three, built in or as modules, run depmod, and build the "
            "initramfs with bootd's part in it."
        ),
    ),
    look=_look,
)
