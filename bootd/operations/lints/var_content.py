"""Files in /var."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_DEPTH: Final = 3
_LINKS: Final = frozenset({"var/run", "var/lock", "var/mail"})
_OF_THE_BUILD: Final = (
    "var/lib/dpkg/",
    "var/lib/apt/",
    "var/lib/rpm/",
    "var/lib/pam/",
    "var/lib/ucf/",
    "var/lib/python/",
    "var/cache/debconf/",
)
"""What package managers know of the image; nothing on a host uses it."""


_STORE: Final = "var/lib/selinux/"
"""SELinux's modules: machines begin with them, and an upgrade brings them what changed."""


def _look(image: ImageRoot) -> Iterator[Found]:
    found: Counter[str] = Counter()
    for path in image.leaves("var"):
        if path not in _LINKS and not path.startswith((*_OF_THE_BUILD, _STORE)):
            found["/".join(path.split("/")[:_DEPTH])] += 1
    for path, number in sorted(found.items()):
        yield Found(path, "is a file" if image.kind(path) != "folder" else f"holds {number} files")


LINT = Lint(
    rule=LintRule(
        id="var-content",
        severity=LintSeverity.WARNING,
        reason=(
            "The image's /var fills the machine's at installation only: later versions of "
            "these files never reach a host, and those of a first installation stay for ever."
        ),
        mend=(
            "Keep defaults in /usr, let tmpfiles.d make what has to be in /var, and clean up "
            "caches and logs at the end of the build."
        ),
    ),
    look=_look,
)
