"""What is learned about a failed boot: from a real journal, from pstore, from the health checks."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootd.model.deployment import DeploymentId, DeploymentRecord, KernelFiles
from bootd.model.digest import Digest
from bootd.operations.trial.evidence import MOST_EVIDENCE, gather
from bootd.sysroot import Sysroot

JOURNAL_REMOTE = Path("/usr/lib/systemd/systemd-journal-remote")
MACHINE = "0123456789abcdef0123456789abcdef"
DIGEST = Digest("sha256:" + "5a" * 32)
RECORD = DeploymentRecord(
    id=DeploymentId.compose(DIGEST, 0),
    image="registry.example/os:stable",
    digest=DIGEST,
    version="2",
    created=datetime(2026, 5, 1, tzinfo=UTC),
    kernel=KernelFiles(
        version="6.12",
        kernel_object="0" * 64,
        initramfs_object="0" * 64,
        kernel_size=1,
        initramfs_size=1,
        digest="0" * 64,
    ),
    erofs="0" * 64,
)
UNIT_FAILED = "be02cf6855d2428ba40df7e9d022f03d"


@pytest.fixture
def sysroot(tmp_path: Path) -> Sysroot:
    return Sysroot.at(tmp_path)


def write_journal(sysroot: Sysroot, *boots: list[dict[str, str]]) -> None:
    """Write a journal with one list of messages a boot, the oldest boot first."""
    assert JOURNAL_REMOTE.exists(), "install systemd-journal-remote"
    folder = sysroot.store / "var/log/journal" / MACHINE
    folder.mkdir(parents=True)
    lines: list[str] = []
    moment = 1_777_777_777_000_000
    for number, messages in enumerate(boots, 1):
        for message in messages:
            moment += 1_000_000
            fields = {
                "__REALTIME_TIMESTAMP": str(moment),
                "__MONOTONIC_TIMESTAMP": str(moment - 1_777_777_777_000_000),
                "_BOOT_ID": f"{number:032x}",
                "_MACHINE_ID": MACHINE,
                "PRIORITY": "6",
                "SYSLOG_IDENTIFIER": "systemd",
                **message,
            }
            lines += [*(f"{key}={value}" for key, value in fields.items()), ""]
    subprocess.run(
        [JOURNAL_REMOTE, "--split-mode=none", f"--output={folder}/system.journal", "-"],
        input="\n".join(lines).encode() + b"\n",
        check=True,
        capture_output=True,
        timeout=60,
    )


def kernel(deployment: DeploymentId) -> dict[str, str]:
    return {
        "_TRANSPORT": "kernel",
        "SYSLOG_IDENTIFIER": "kernel",
        "MESSAGE": f"Command line: quiet bootd={deployment}",
    }


OLD = DeploymentId("0000000000000000.0")


def test_the_failed_boots_units_and_warnings_are_told(sysroot: Sysroot) -> None:
    failed = [
        kernel(RECORD.id),
        {"MESSAGE": "Starting web.service"},
        {"MESSAGE": "Failed to start web.service", "PRIORITY": "3", "MESSAGE_ID": UNIT_FAILED},
        {"MESSAGE": "disk is slow", "PRIORITY": "4", "SYSLOG_IDENTIFIER": "kernel"},
    ]
    write_journal(sysroot, [kernel(OLD)], failed, [kernel(OLD), {"MESSAGE": "now"}])
    text = gather(sysroot, RECORD, tries=3)
    units, _, warnings = text.partition("last warnings")
    assert "Failed to start web.service" in units
    assert "disk is slow" in warnings
    assert "Starting web" not in text


def test_a_boot_that_left_nothing_is_said_to(sysroot: Sysroot) -> None:
    write_journal(sysroot, [kernel(OLD), {"MESSAGE": "not mine", "PRIORITY": "3"}], [kernel(OLD)])
    text = gather(sysroot, RECORD, tries=3)
    assert text.splitlines()[-1] == "its last boot left nothing in the journal"


def test_a_journal_that_cannot_be_read_is_said_to(sysroot: Sysroot) -> None:
    folder = sysroot.store / "var/log/journal" / MACHINE
    folder.mkdir(parents=True)
    (folder / "system.journal").write_bytes(b"no journal")
    assert "the journal" in gather(sysroot, RECORD, tries=3)


def test_evidence_is_bounded(sysroot: Sysroot) -> None:
    noise = [{"MESSAGE": "x" * 4_000, "PRIORITY": "3"} for _ in range(200)]
    write_journal(sysroot, [kernel(RECORD.id), *noise], [kernel(OLD)])
    text = gather(sysroot, RECORD, tries=3)
    assert len(text) <= MOST_EVIDENCE
    assert max(len(line) for line in text.splitlines()) <= 1_000


def test_what_survived_a_crash_is_listed(sysroot: Sysroot, tmp_path: Path) -> None:
    live = tmp_path / "pstore"
    live.mkdir()
    (live / "dmesg-efi-1").write_bytes(b"Oops")
    kept = sysroot.store / "var/lib/systemd/pstore/7"
    kept.mkdir(parents=True)
    (kept / "dmesg.txt").write_bytes(b"Kernel panic")
    text = gather(sysroot, RECORD, tries=1, pstore=live)
    assert f"{live}/dmesg-efi-1 (4 bytes)" in text
    assert f"{kept}/dmesg.txt (12 bytes)" in text
    assert "no journal is kept" in text
