"""What is said at login after a fallback: a file in ``/run/motd.d``, read by pam_motd(8)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bootd.model.deployment import DeploymentRecord
from bootd.sysroot import Sysroot

FILE_NAME: Final = "10-bootd"
_MOST_SHOWN: Final = 5


def message_file(sysroot: Sysroot) -> Path:
    """Return where the message is: beside bootd's folder for this boot."""
    return sysroot.run.parent / "motd.d" / FILE_NAME


def show_fallbacks(sysroot: Sysroot, failed: Sequence[DeploymentRecord]) -> None:
    """Say which kept deployments the machine fell back from; nothing where there are none."""
    path = message_file(sysroot)
    if not failed:
        if path.exists():
            sysroot.disk.remove_file(path)
        return
    lines = [
        f"This machine fell back from {_named(record)}: it did not boot well."
        for record in failed[:_MOST_SHOWN]
    ]
    lines.append("'bootctl-py why' shows what is known.")
    sysroot.disk.make_directory(path.parent, 0o755)
    sysroot.disk.replace_file(path, "".join(f"{line}\n" for line in lines).encode(), 0o644)


def _named(record: DeploymentRecord) -> str:
    text = f"{record.image} {record.version}".strip()
    return "".join(letter if letter.isprintable() else "?" for letter in text)
