"""Files in folders that a host mounts something over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_FOLDERS: Final = ("boot", "run", "tmp", "dev", "proc", "sys")
"""In ``/sysroot`` images built for ostree keep hard links to their files."""
_DEVICES: Final = "dev"
"""Tools that build root file systems leave device nodes and links there, which nobody misses."""
_LEFT_BY_ENGINES: Final = frozenset({"run/.containerenv", "run/secrets", "run/lock"})


def _look(image: ImageRoot) -> Iterator[Found]:
    for folder in _FOLDERS:
        if image.is_mounted(folder):
            continue
        for name in image.names(folder):
            path = f"{folder}/{name}"
            if path not in _LEFT_BY_ENGINES and _holds_anything(image, folder, path):
                yield Found(path, "is not there on a host")


def _holds_anything(image: ImageRoot, folder: str, path: str) -> bool:
    leaves = image.leaves(path) if image.kind(path) == "folder" else iter([path])
    return any(folder != _DEVICES or image.kind(leaf) == "file" for leaf in leaves)


LINT = Lint(
    rule=LintRule(
        id="lost-content",
        severity=LintSeverity.WARNING,
        reason=(
            "Nothing of /boot, /run, /tmp, /sysroot, /dev, /proc and /sys in an image reaches "
            "a host: they are empty mount points there."
        ),
        mend=(
            "Remove it at the end of the build; kernel and initramfs belong to "
            "/usr/lib/modules/VERSION."
        ),
    ),
    look=_look,
)
