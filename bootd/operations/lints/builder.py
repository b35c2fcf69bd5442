"""Nothing in the image is of the machine that built it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint
from bootd.store.images.host_layout import engine_leftovers

_LEFT_OUT: Final = LintSeverity.INFO
_SAYS_NOTHING: Final = frozenset({"", "localhost", "localhost.localdomain"})


def _look(image: ImageRoot) -> Iterator[Found]:
    for tree in ("etc", "usr/etc"):
        name = f"{tree}/hostname"
        if not image.is_mounted(name) and image.text(name).strip() not in _SAYS_NOTHING:
            yield Found(name, f"names every host {image.text(name).strip()[:64]!r}")
        servers = f"{tree}/resolv.conf"
        # A link leads to what a program on the host writes.
        if image.kind(servers) == "file" and not image.is_mounted(servers):
            words = [line.split() for line in image.text(servers).splitlines()]
            yield from (Found(servers, f"asks {line[1]}") for line in words if _is_server(line))
    for _, _, path in engine_leftovers(image.tree):
        yield Found(path, "is empty, as build engines leave it; hosts do without", _LEFT_OUT)


def _is_server(line: list[str]) -> bool:
    return len(line) > 1 and line[0] == "nameserver"


LINT = Lint(
    rule=LintRule(
        id="builder",
        severity=LintSeverity.WARNING,
        reason=(
            "Tools that build root file systems copy their machine's host name and name servers, "
            "and hosts would use them. What is empty there is left out when an image is staged."
        ),
        mend="Remove /etc/hostname and /etc/resolv.conf at the end of the build.",
    ),
    look=_look,
)
