"""What is said at every login: files in ``/run/motd.d``, read by pam_motd(8).

They are about a fallback, about what is undecided in ``/etc``, about a configuration that cannot be
used, and about updates that fail. None outlives the boot.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bootd.model.attempts import FailingUpdates
from bootd.model.deployment import DeploymentRecord
from bootd.model.text import one_line
from bootd.operations.etc.undecided import read_undecided
from bootd.sysroot import Sysroot

FILE_NAME: Final = "10-bootd"
UNDECIDED_NAME: Final = "20-bootd-etc"
CONFIGURATION_NAME: Final = "30-bootd-configuration"
FAILING_NAME: Final = "40-bootd-updates"
_MOST_SHOWN: Final = 5


def message_file(sysroot: Sysroot, name: str = FILE_NAME) -> Path:
    """Return where a message is: beside bootd's folder for this boot."""
    return sysroot.run.parent / "motd.d" / name


def show_fallbacks(sysroot: Sysroot, failed: Sequence[DeploymentRecord]) -> None:
    """Say which kept deployments the machine fell back from; nothing where there are none."""
    lines = [
        f"This machine fell back from {_named(record)}: it did not boot well."
        for record in failed[:_MOST_SHOWN]
    ]
    if lines:
        lines.append("'bootctl-py why' shows what is known.")
    _show(sysroot, FILE_NAME, lines)


def show_undecided(sysroot: Sysroot) -> None:
    """Say that something is undecided in the ``/etc`` that runs; nothing where that is not so.

    A foreign system, a rescue system say, is told nothing: its logins are others.

    Raises:
        DamagedRecordError: what is undecided cannot be read.
    """
    booted = sysroot.booted()
    if booted is None:
        return
    undecided = read_undecided(sysroot, booted).conflicts
    lines = []
    if undecided:
        number = len(undecided)
        urgent = sum(one.conflict.security for one in undecided)
        what = "1 conflict in /etc is" if number == 1 else f"{number} conflicts in /etc are"
        matters = f", {urgent} of them about security" if urgent else ""
        lines = [f"{what} undecided{matters}. 'bootctl-py etc conflicts' lists what."]
    _show(sysroot, UNDECIDED_NAME, lines)


def show_configuration(sysroot: Sysroot, problem: str | None) -> None:
    """Say why other settings of bootd are in force than its files say; nothing where that is None.

    Raises:
        WriteFailedError, NoSpaceError: the kernel refused.
    """
    _show(sysroot, CONFIGURATION_NAME, [] if problem is None else [f"bootd: {one_line(problem)}."])


def show_failing(sysroot: Sysroot, failing: FailingUpdates | None) -> None:
    """Say that there have been no updates for some time; nothing where that is None.

    Anybody reads it, so it has no words of errors.

    Raises:
        WriteFailedError, NoSpaceError: the kernel refused.
    """
    lines = []
    if failing is not None:
        often = f"{failing.in_a_row} times since {failing.since:%Y-%m-%d}"
        lines = [
            f"Looking for updates has failed {often} ({failing.last.outcome}).",
            "'bootctl-py why' says more.",
        ]
    _show(sysroot, FAILING_NAME, lines)


def _show(sysroot: Sysroot, name: str, lines: Sequence[str]) -> None:
    path = message_file(sysroot, name)
    if lines:
        sysroot.disk.make_directory(path.parent, 0o755)
        sysroot.disk.replace_file(path, "".join(f"{line}\n" for line in lines).encode(), 0o644)
    elif path.exists():
        sysroot.disk.remove_file(path)


def _named(record: DeploymentRecord) -> str:
    return one_line(f"{record.image} {record.version}".strip())
