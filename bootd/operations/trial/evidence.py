"""Evidence: what can still be learned about a boot that failed, as text for people.

It comes from the machine's ``/var``, which all deployments share, and from pstore. Whatever cannot
be had is left out or said to be missing: gathering never fails, and never takes more than seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bootd.model.deployment import DeploymentRecord
from bootd.model.errors import ProcessFailedError
from bootd.model.health import HealthDocument
from bootd.operations.trial.health import read_health
from bootd.process import run
from bootd.sysroot import KERNEL_ARGUMENT, Sysroot

MOST_EVIDENCE: Final = 65_536
"""Characters; what a denial holds."""

_JOURNAL: Final = "log/journal"
_PSTORE: Final = ("lib/systemd/pstore",)
_LIVE_PSTORE: Final = Path("/sys/fs/pstore")
_SECONDS: Final = 20.0
_WARNINGS: Final = 50
_UNITS: Final = 20
_MOST_RECORDS: Final = 50
_MOST_LINE: Final = 1_000
_CHECK_LINES: Final = 10
_NO_MATCH: Final = 1
_UNIT_FAILED: Final = (
    "MESSAGE_ID=be02cf6855d2428ba40df7e9d022f03d",
    "MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c",
)
"""What systemd logs when a start job or a unit failed (sd-messages.h)."""


def gather(
    sysroot: Sysroot, record: DeploymentRecord, *, tries: int, pstore: Path = _LIVE_PSTORE
) -> str:
    """Return what is known about a deployment that failed; at most 65,536 characters.

    Args:
        sysroot: the machine.
        record: the deployment.
        tries: how often the loader started it.
        pstore: where the kernel shows what survived a crash.
    """
    lines = [
        f"{record.id} of {record.image} {record.version}".rstrip() + f", started {tries} times"
    ]
    health = read_health(sysroot, record.id)
    if health is not None:
        lines += _health_lines(health)
    lines += _journal_lines(sysroot.store / "var" / _JOURNAL, record)
    folders = (pstore, *(sysroot.store / "var" / name for name in _PSTORE))
    lines += _pstore_lines(folders)
    return "\n".join(line[:_MOST_LINE] for line in lines)[:MOST_EVIDENCE]


def _health_lines(health: HealthDocument) -> list[str]:
    lines = [f"health on {health.when:%Y-%m-%d %H:%M:%S} UTC: {health.verdict}"]
    for check in health.failed:
        status = "" if check.exit_status is None else f", exit status {check.exit_status}"
        age = ", as under the deployment before" if check.old else ""
        lines.append(f"  {check.severity} {check.name}: {check.outcome}{status}{age}")
        lines += [f"    {line}" for line in check.output.splitlines()[-_CHECK_LINES:]]
    return lines


def _journal_lines(journal: Path, record: DeploymentRecord) -> list[str]:
    if not journal.is_dir():
        return ["no journal is kept on disk"]
    try:
        booted = _ask(journal, "--dmesg", f"--grep={KERNEL_ARGUMENT}={record.id}", "--lines=1")
        if not booted:
            return ["its last boot left nothing in the journal"]
        units = _ask(journal, f"--lines={_UNITS}", *_UNIT_FAILED)
        warnings = _ask(journal, f"--lines={_WARNINGS}", "--priority=warning")
    except ProcessFailedError as error:
        return [f"the journal cannot be read: {error.message}"]
    return [
        "units that failed in its last boot:",
        *(f"  {line}" for line in units or ["none"]),
        "last warnings of its last boot:",
        *(f"  {line}" for line in warnings or ["none"]),
    ]


def _ask(journal: Path, *arguments: str) -> list[str]:
    """Return lines of the boot before the newest one, which is the running one."""
    command = ["journalctl", f"--directory={journal}", "--boot=-1", "--no-pager", "--quiet"]
    done = run([*command, "--output=short", *arguments], timeout=_SECONDS, expected=(0, _NO_MATCH))
    return done.stdout[-MOST_EVIDENCE:].decode(errors="replace").splitlines()


def _pstore_lines(folders: tuple[Path, ...]) -> list[str]:
    found = [
        f"  {path} ({path.stat().st_size} bytes)"
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.rglob("*"))[:_MOST_RECORDS]
        if path.is_file()
    ]
    return ["kernel messages that survived a crash:", *found] if found else []
