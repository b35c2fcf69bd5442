"""Something makes the folders in /var that links of the root lead to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_LINKS: Final = ("home", "root", "srv", "mnt", "opt", "usr/local")
_TREES: Final = ("usr/lib/tmpfiles.d", "etc/tmpfiles.d", "usr/etc/tmpfiles.d")
_MAKERS: Final = frozenset("dDvqQLC")
"""The types of tmpfiles.d(5) that make a folder, or a link to one."""


def _look(image: ImageRoot) -> Iterator[Found]:
    made = _made(image)
    for link in _LINKS:
        if image.kind(link) != "symlink":
            continue
        try:
            target = str(image.path(link).relative_to(image.folder))
        except OSError:
            continue  # a circle leads to no folder
        if target.startswith("var/") and target not in made and image.kind(target) != "folder":
            yield Found(link, f"leads to /{target}, which nothing makes")


def _made(image: ImageRoot) -> set[str]:
    files = [f"{tree}/{name}" for tree in _TREES for name in image.names(tree)]
    lines = (line.split() for path in files for line in image.text(path).splitlines())
    return {words[1].strip("/") for words in lines if len(words) > 1 and words[0][:1] in _MAKERS}


LINT = Lint(
    rule=LintRule(
        id="dangling-folders",
        severity=LintSeverity.WARNING,
        reason="On a host the link leads nowhere, and whoever needs the folder fails.",
        mend="Add a line such as 'd /var/home 0755 root root -' to /usr/lib/tmpfiles.d.",
    ),
    look=_look,
)
