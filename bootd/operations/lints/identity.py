"""Nothing in the image makes all machines one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image_root import ImageRoot
from bootd.operations.lint import Found, Lint

_SEED: Final = "var/lib/systemd/random-seed"


def _look(image: ImageRoot) -> Iterator[Found]:
    for tree in ("etc", "usr/etc"):
        path = f"{tree}/machine-id"
        if image.text(path).strip() not in ("", "uninitialized"):
            yield Found(path, "has the ID of one machine", LintSeverity.WARNING)
        for name in image.names(f"{tree}/ssh"):
            if name.startswith("ssh_host_") and name.endswith("_key"):
                yield Found(f"{tree}/ssh/{name}", "is a private key")
    if image.kind(_SEED) == "file":
        yield Found(_SEED, "would be the same randomness everywhere")


LINT = Lint(
    rule=LintRule(
        id="identity",
        severity=LintSeverity.FATAL,
        reason=(
            "Every host would have it in common: the machine ID decides about addresses and "
            "logs, and whoever has the image has the private keys."
        ),
        mend=(
            "Leave /etc/machine-id empty and remove host keys at the end of the build; hosts "
            "make their own."
        ),
    ),
    look=_look,
)
