"""What belongs to the machine is not in the read-only root."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_FOLDERS: Final = {
    "home": LintSeverity.FATAL,
    "root": LintSeverity.FATAL,
    "srv": LintSeverity.WARNING,
    "mnt": LintSeverity.WARNING,
    "opt": LintSeverity.INFO,
    "usr/local": LintSeverity.INFO,
}
"""Software of the image may well be in the last two."""
_PRIVATE: Final = frozenset({"home", "root", "srv", "mnt"})
_DASH: Final = "\\x2d"
"""How systemd-escape(1) writes a dash of a path."""


def _look(image: ImageRoot) -> Iterator[Found]:
    for path, severity in _FOLDERS.items():
        if (
            image.kind(path) != "folder"
            or image.is_mounted(path)
            or _is_mounted_on_host(image, path)
        ):
            continue
        yield Found(path, "is a real folder, so nobody can write to it on a host", severity)
        inside = next(image.leaves(path), None)
        if inside is not None and path in _PRIVATE:
            yield Found(inside, "would be the same, and read-only, on every host")


def _is_mounted_on_host(image: ImageRoot, path: str) -> bool:
    unit = f"{path.replace('-', _DASH).replace('/', '-')}.mount"
    trees = ("etc/systemd/system", "usr/etc/systemd/system", "usr/lib/systemd/system")
    return any(image.kind(f"{tree}/{unit}") != "nothing" for tree in trees) or any(
        line.split()[1:2] == [f"/{path}"] for line in image.text("etc/fstab").splitlines()
    )


LINT = Lint(
    rule=LintRule(
        id="machine-folders",
        severity=LintSeverity.WARNING,
        reason=(
            "The root of a host is read-only and the same on all of them. Folders that people "
            "and programs write to live in /var."
        ),
        mend=(
            "Make it a symlink into /var, such as /home to var/home, or mount something "
            "there; let tmpfiles.d make the target."
        ),
    ),
    look=_look,
)
