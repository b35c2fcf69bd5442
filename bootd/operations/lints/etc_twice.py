"""The defaults of /etc are in one place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image_root import ImageRoot
from bootd.operations.lint import Found, Lint

_LEFT_BY_ENGINES: Final = frozenset({"hostname", "hosts", "resolv.conf", "mtab"})


def _look(image: ImageRoot) -> Iterator[Found]:
    # What a container engine mounts into /etc leaves an empty file of that name behind.
    own = [name for name in image.names("etc") if name not in _LEFT_BY_ENGINES]
    defaults = image.names("usr/etc")
    if own and defaults:
        yield Found("usr/etc", f"has {len(defaults)} entries, and /etc has {len(own)}")
    for path in ("usr", "etc", "usr/etc"):
        if image.kind(path) not in ("folder", "nothing"):
            yield Found(path, f"is not a folder but a {image.kind(path)}")


LINT = Lint(
    rule=LintRule(
        id="etc-twice",
        severity=LintSeverity.FATAL,
        reason=(
            "The defaults of /etc are what the image has in /etc or in /usr/etc; with both "
            "nobody knows which."
        ),
        mend="Keep one of the two; /etc is what packages and builders write.",
    ),
    look=_look,
)
