"""Nothing in the image makes all machines one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint

_SECRETS: Final = {
    "ssh/ssh_host_*_key": "is a private key",
    "ssl/private/ssl-cert-snakeoil.key": "is a private key",
    "bind/rndc.key": "is a key that rules the name server",
    "nvme/hostid": "names one machine on a storage network",
    "nvme/hostnqn": "names one machine on a storage network",
}
"""What packages make when they are installed, by patterns of paths in ``/etc``."""
_INITIATOR: Final = "iscsi/initiatorname.iscsi"
_IN_VAR: Final = {
    "var/lib/systemd/random-seed": "would be the same randomness everywhere",
    "var/lib/systemd/credential.secret": "would open the credentials of every host",
}
_KEY: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----")


def _look(image: ImageRoot) -> Iterator[Found]:
    for tree in ("etc", "usr/etc"):
        path = f"{tree}/machine-id"
        if image.text(path).strip() not in ("", "uninitialized"):
            yield Found(path, "has the ID of one machine", LintSeverity.WARNING)
        yield from _secrets(image, tree)
    for path, problem in _IN_VAR.items():
        if image.kind(path) == "file":
            yield Found(path, problem)


def _secrets(image: ImageRoot, tree: str) -> Iterator[Found]:
    for path in image.leaves(tree):
        if image.kind(path) != "file":
            continue
        name = path.removeprefix(f"{tree}/")
        known = next((text for one, text in _SECRETS.items() if fnmatchcase(name, one)), None)
        if known is not None:
            yield Found(path, known)
        elif name == _INITIATOR:
            if re.search(r"(?m)^InitiatorName=", image.text(path)):
                yield Found(path, "names one machine on a storage network")
        elif _KEY.search(image.text(path)):
            yield Found(path, "holds a private key, which every host has", LintSeverity.WARNING)


LINT = Lint(
    rule=LintRule(
        id="identity",
        severity=LintSeverity.FATAL,
        reason=(
            "Every host would have it in common: the machine ID decides about addresses and "
            "logs, whoever has the image has the private keys, and hosts of the same name on a "
            "storage network write over each other's data."
        ),
        mend=(
            "Leave /etc/machine-id empty and remove such files at the end of the build; hosts make "
            "their own if a unit does so where one is missing."
        ),
    ),
    look=_look,
)
