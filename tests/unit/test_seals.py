"""What a status tells of a deployment's seal, by its record, its entry and the running boot."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bootd.boot.entry import BootEntry, compose_entry, integrity_of
from bootd.durable import Disk
from bootd.model.deployment import DeploymentId, DeploymentRecord, KernelFiles
from bootd.model.digest import Digest
from bootd.model.state import SealedFrom
from bootd.operations.machine.seals import Seal, seal_of
from bootd.operations.machine.survey import Survey
from bootd.sysroot import Sysroot

_ID = DeploymentId("000000000000000a.0")
_ROOT = "3" * 64
_UNSEALED = Seal(sealed=False, digest=None, enforced_from=SealedFrom.NOWHERE)
_ENFORCED = Seal(sealed=True, digest=f"sha256:{_ROOT}", enforced_from=SealedFrom.ENTRY_UNSIGNED)
_LOOSE = _ENFORCED._replace(enforced_from=SealedFrom.NOWHERE)
_DEMANDED = f"bootd.integrity=verity={_ROOT}"


def record(*, sealed: bool) -> DeploymentRecord:
    return DeploymentRecord(
        id=_ID,
        image="oci:x",
        digest=Digest.of(b""),
        created=datetime(2026, 1, 1, tzinfo=UTC),
        kernel=KernelFiles(
            version="6.12",
            kernel_object="1" * 64,
            initramfs_object="2" * 64,
            kernel_size=1,
            initramfs_size=2,
            digest="4" * 64,
        ),
        erofs=_ROOT,
        sealed=sealed,
    )


def entry_of(one: DeploymentRecord) -> BootEntry:
    return compose_entry(one, folder="4" * 64, installation=None, serial=1, tries=None, title="x")


def seen(tmp_path: Path, one: DeploymentRecord, entry: BootEntry | None, line: str | None) -> Seal:
    sysroot = Sysroot.at(tmp_path, Disk())
    if line is not None:
        sysroot.command_line.parent.mkdir(parents=True, exist_ok=True)
        sysroot.command_line.write_text(f"bootd={_ID} {line}\n")
    found: Any = SimpleNamespace(booted=sysroot.booted(), entry=lambda _: entry)
    return seal_of(sysroot, cast("Survey", found), one)


def test_what_is_not_sealed(tmp_path: Path) -> None:
    one = record(sealed=False)
    assert integrity_of(entry_of(one)) is None
    for line in (None, "quiet", _DEMANDED):
        assert seen(tmp_path, one, entry_of(one), line) == _UNSEALED


def test_what_is_staged_or_can_be_booted(tmp_path: Path) -> None:
    one = record(sealed=True)
    assert seen(tmp_path, one, None, None) == _ENFORCED
    assert seen(tmp_path, one, entry_of(one), None) == _ENFORCED
    without = entry_of(record(sealed=False))
    assert seen(tmp_path, one, without, None) == _LOOSE, "somebody took it out of the entry"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (_DEMANDED, _ENFORCED),
        (f"{_DEMANDED} bootd.integrity=off", _ENFORCED),
        (f'{_DEMANDED} note="a bootd.integrity=off b"', _ENFORCED),
        ("quiet", _LOOSE),
        (f"bootd.integrity=off {_DEMANDED}", _LOOSE),
        ("bootd.integrity=verity=" + "5" * 64, _LOOSE),
    ],
)
def test_what_runs_is_as_it_was_started(tmp_path: Path, line: str, expected: Seal) -> None:
    one = record(sealed=True)
    assert seen(tmp_path, one, entry_of(one), line) == expected
