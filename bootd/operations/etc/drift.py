"""How far a machine is from the image it runs, as one digest: equal machines have equal ones.

It is made of what was changed here and of nothing that an upgrade changes, so it stays the same
from version to version: of each path only what differs from its default counts, be it type,
content, mode, owner or attributes; of a user database the rows that differ, and of passwords only
whether they are locked, since equal ones look different; of a text that policy merges, or that is
made from others, the lines that differ. Of what else is made from others only that it is another.
Paths that are each machine's own, such as ``/etc/machine-id``, are left out, and so is what
`drift_ignore` lists. Times never count.

It says something about files that only root may read, so it is for root.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from bootd.etc.accounts.records import DATABASES, GSHADOW, PASSWORD, SHADOW, Row, read_table
from bootd.etc.accounts.rows import lock_of
from bootd.etc.diff import diff
from bootd.etc.disk.contents import Contents
from bootd.etc.rules.lines import unified
from bootd.etc.rules.patterns import compiled, matches
from bootd.etc.rules.policy import EtcPolicies
from bootd.model.errors import NoSuchDeploymentError
from bootd.model.etc.policy import EtcPolicy
from bootd.model.etc.report import EtcChange, EtcSide, below_etc
from bootd.model.tree import Directory, lookup
from bootd.operations.etc.merge import defaults_in
from bootd.operations.etc.rules import policies_going_back
from bootd.operations.etc.undecided import image_text, own_text
from bootd.operations.host import Host
from bootd.operations.machine.survey import take_survey
from bootd.store.contents import StoreContents
from bootd.store.images.image import EROFS_NAME

_MADE_HERE: Final = "made here"
_ACCOUNTS: Final = {f"/etc/{name}": name for name in DATABASES}


def drift(host: Host) -> str:
    """Return ``sha256:`` and the digest of what this machine changed in its ``/etc``.

    Raises:
        NoSuchDeploymentError: no deployment runs or is next.
        EtcTooLargeError, WriteFailedError, DamagedImageError, DamagedObjectError: what is there
            cannot be read.
        ProcessFailedError: diff is missing or failed.
    """
    current = take_survey(host.sysroot).current
    if current is None:
        raise NoSuchDeploymentError("this machine has no deployment yet")
    folder = host.sysroot.deployment(current)
    with defaults_in(folder / EROFS_NAME) as defaults:
        contents = StoreContents(host.sysroot)
        policies = policies_going_back(host.configuration.etc, folder / EROFS_NAME, contents)
        drifting = _Drift(host, policies, defaults, folder / "etc", contents)
        running = sha256()
        for words in sorted(drifting.facts()):
            running.update("\0".join(words).encode() + b"\n")
    return f"sha256:{running.hexdigest()}"


class _Drift:
    def __init__(
        self,
        host: Host,
        policies: EtcPolicies,
        defaults: Directory,
        etc: Path,
        contents: Contents,
    ) -> None:
        self._policies = policies
        self._ignored = (*policies.own, *compiled(host.configuration.etc.drift_ignore))
        self._defaults, self._etc, self._contents = defaults, etc, contents

    def facts(self) -> Iterator[tuple[str, ...]]:
        """Yield what is another than its default, a path with what differs about it."""
        for change in diff(self._defaults, self._etc, self._contents).changes:
            path = below_etc(change.path)
            if not matches(self._ignored, path):
                yield from self._of(change, path)

    def _of(self, change: EtcChange, path: bytes) -> Iterator[tuple[str, ...]]:
        base, mine = _fields(change.base), _fields(change.mine)
        different = {key: value for key, value in mine.items() if base.get(key) != value}
        if "digest" in different and {change.base.type, change.mine.type} == {"file"}:
            database = _ACCOUNTS.get(change.path)
            if database is not None:
                del different["digest"]
                yield from self._rows(database, path)
            elif any(one.makes(path, None) for one in self._policies.derived):
                different["digest"] = self._lines(path) or _MADE_HERE
            elif self._policies.policy(path) is EtcPolicy.MERGE:
                different["digest"] = self._lines(path) or different["digest"]
        for key, value in different.items():
            yield change.path, key, value

    def _rows(self, database: str, path: bytes) -> Iterator[tuple[str, ...]]:
        base, mine = (
            read_table(database, text or b"").rows
            for text in (
                image_text(lookup(self._defaults, path), self._contents),
                own_text(self._etc, path),
            )
        )
        for name in base.keys() | mine.keys():
            before, after = (_row(database, rows.get(name)) for rows in (base, mine))
            if before != after:
                yield f"/etc/{database}", name.decode(errors="backslashreplace"), after

    def _lines(self, path: bytes) -> str | None:
        base, mine = (
            image_text(lookup(self._defaults, path), self._contents),
            own_text(self._etc, path),
        )
        if base is None or mine is None:
            return None
        lines = unified(base, mine, ("", "")).splitlines()[2:]
        changed = [line for line in lines if line.startswith(("+", "-"))]
        return sha256("\n".join(changed).encode()).hexdigest()


def _fields(side: EtcSide) -> dict[str, str]:
    values = side.model_dump(exclude={"size"}, exclude_none=True)
    return {key: str(value) for key, value in values.items()}


def _row(database: str, row: Row | None) -> str:
    if row is None:
        return "absent"
    if database in (SHADOW, GSHADOW):
        return lock_of(row[PASSWORD]).name
    return b":".join(row).decode(errors="backslashreplace")
