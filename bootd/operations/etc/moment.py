"""What a machine had changed in its ``/etc`` at one moment, so that what came later can be told.

It stands in a deployment's folder. While that is staged it is about the moment of staging, in terms
of the running deployment; from finalize on about the moment it got its own ``/etc``.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bootd.etc.diff import changed_nodes
from bootd.etc.disk.contents import Contents
from bootd.etc.report import describe
from bootd.model.deployment import DeploymentId
from bootd.model.etc.report import (
    MAX_CHANGES,
    MAX_NOTES,
    EtcNote,
    EtcSide,
    NoteKind,
    etc_path,
)
from bootd.model.tree import Directory
from bootd.records import MAX_ETC_BYTES, read_record, write_record
from bootd.sysroot import Sysroot

EDITS_NAME: Final = "etc-edits.json"


class Edits(BaseModel):
    """``deployments/<id>/etc-edits.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    edits: dict[str, str] = Field(default_factory=dict, max_length=MAX_CHANGES)
    """By path, a digest of what stands there, be it nothing."""


def fingerprint(side: EtcSide) -> str:
    """Return a digest of what stands at a path: type, content, mode, owner, attributes."""
    return sha256(side.model_dump_json().encode()).hexdigest()


def edits_in(defaults: Directory, tree: Directory, folder: Path, contents: Contents) -> Edits:
    """Return what is changed in an ``/etc`` against its defaults.

    Args:
        defaults: the image's tree.
        tree: the machine's, with the contents known that could be those of the defaults.
        folder: where contents can be read that are not known.
        contents: how contents are measured.

    Raises:
        WriteFailedError: the kernel refused to read.
    """
    changes = islice(changed_nodes(defaults, tree), MAX_CHANGES)
    return Edits(
        edits={
            etc_path(path): fingerprint(describe(node, path, folder, contents))
            for path, _, _, node in changes
        }
    )


def late_edits(before: Edits | None, now: Edits) -> list[EtcNote]:
    """Return a note for each path that was edited between two moments."""
    if before is None:
        return []
    paths = before.edits.keys() | now.edits.keys()
    late = sorted(path for path in paths if before.edits.get(path) != now.edits.get(path))
    return [EtcNote(path=path, kind=NoteKind.LATE) for path in late[:MAX_NOTES]]


def read_edits(sysroot: Sysroot, deployment: DeploymentId) -> Edits | None:
    """Return the record of a deployment, or None where it has none.

    Raises:
        DamagedRecordError: it cannot be read.
    """
    return read_record(sysroot.deployment(deployment) / EDITS_NAME, Edits, MAX_ETC_BYTES)


def write_edits(sysroot: Sysroot, folder: Path, edits: Edits) -> None:
    """Put the record into a deployment's folder, durably."""
    write_record(sysroot.disk, folder / EDITS_NAME, edits)
