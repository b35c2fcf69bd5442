"""The machine's own time zone: ``/etc/localtime`` (localtime(5)), or UTC where there is none."""

from __future__ import annotations

from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo


def machine_zone(directory: Path | None) -> tzinfo:
    """Return the zone of the machine, or of that which lies in a folder; it is read each time."""
    path = (directory or Path("/")) / "etc/localtime"
    try:
        with path.open("rb") as stream:
            return ZoneInfo.from_file(stream)
    except (OSError, ValueError):
        return UTC
