"""What is mounted where, as this process sees it.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.durable import storage_errors

_MOUNTS: Final = Path("/proc/self/mountinfo")
_MAX_MOUNTS: Final = 16 << 20
_FIELDS: Final = 10
_AUTOMOUNT: Final = "autofs"
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount.

    Attributes:
        point: where it is.
        number: major and minor number of its device, as ``8:1``; of a file system that has none of
            its own, such as Btrfs, that of the device it was mounted from.
        source: what it was mounted from, as mount(8) was told.
        kind: the type of its file system.
    """

    point: Path
    number: str
    source: str
    kind: str


def mounts() -> list[Mount]:
    """Return all mounts, a later one above an earlier one at the same place.

    Raises:
        WriteFailedError: they cannot be read.
    """
    with storage_errors("read", _MOUNTS), _MOUNTS.open("rb") as stream:
        lines = stream.read(_MAX_MOUNTS).decode(errors="surrogateescape").splitlines()
    fields = (line.split(" ") for line in lines)
    return [_mount(words) for words in fields if len(words) >= _FIELDS]


def mount_of(path: Path) -> Mount | None:
    """Return the mount that a path lies on, the path itself being resolved.

    Raises:
        WriteFailedError: the path, or the list of mounts, cannot be read.
    """
    with storage_errors("look at", path):
        real = path.resolve()
    nearest = None
    for mount in mounts():
        above = nearest is None or len(mount.point.parts) >= len(nearest.point.parts)
        if above and real.is_relative_to(mount.point):
            nearest = mount
    return nearest


def automounted_at(path: Path) -> list[Mount] | None:
    """Return what is mounted on a path by an automount on it or above it; None: there is none.

    Nobody walks the path for that. While an automount is being left, the kernel lets nobody pass,
    kill it or not, until the unmount is done; at shutdown that waits for services, which would
    wait for it.

    Raises:
        WriteFailedError: the list of mounts cannot be read.
    """
    there = mounts()
    automounts = (one for one in there if one.kind == _AUTOMOUNT)
    if not any(path.is_relative_to(one.point) for one in automounts):
        return None
    return [one for one in there if one.point == path and one.kind != _AUTOMOUNT]


def _mount(words: list[str]) -> Mount:
    kind, source = words[words.index("-") + 1 :][:2] if "-" in words[:-2] else ("", "")
    source = _unescaped(source)
    number = words[2]
    if number.startswith("0:") and source.startswith("/dev/"):
        number = device_number(Path(source)) or number
    return Mount(Path(_unescaped(words[4])), number, source, kind)


def device_number(device: Path) -> str | None:
    """Return major and minor number of a block device, or of what a link to one leads to."""
    try:
        number = device.stat().st_rdev
    except OSError:
        return None
    return f"{os.major(number)}:{os.minor(number)}" if number else None


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
