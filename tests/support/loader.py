"""In place of boot loader and kernel: picks an entry, counts it down, sets the command line.

It does what systemd-boot does with Type #1 entries (UAPI.1, "Boot counting"; systemd-boot(7)), but
starts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bootd.boot.entry import text_lines
from bootd.boot.order import LoaderEntry, default_entry, loader_entry
from bootd.model.deployment import DeploymentId
from bootd.sysroot import KERNEL_ARGUMENT, Sysroot

_COUNTER = re.compile(r"(?P<name>.*)\+(?P<left>[0-9]+)(-(?P<done>[0-9]+))?\.conf")


class NothingBootsError(AssertionError):
    """The machine would stop in the boot menu."""


def next_entry(sysroot: Sysroot) -> LoaderEntry:
    """The entry that the loader would start without a person at the keyboard.

    Raises:
        NothingBootsError: there is none.
    """
    folder = sysroot.boot / "loader/entries"
    paths = sorted(folder.glob("[!.]*.conf"))
    entries = [loader_entry(path.name, path.read_bytes()) for path in paths]
    settings = sysroot.boot / "loader/loader.conf"
    lines = text_lines(settings.read_bytes()) if settings.exists() else []
    found = default_entry(entries, dict(lines).get("default"))
    if found is None:
        raise NothingBootsError(f"{folder} has no entry")
    return found


def boot(sysroot: Sysroot) -> DeploymentId:
    """Boot the machine: afterwards ``/proc/cmdline`` is that of the entry the loader picked.

    Raises:
        NothingBootsError: there is no entry, or its kernel or initramfs is missing.
    """
    entry = next_entry(sysroot)
    path = sysroot.boot / "loader/entries" / entry.file_name
    lines = text_lines(path.read_bytes())
    for needed in (*_values(lines, "linux"), *_values(lines, "initrd")):
        if not (sysroot.boot / needed.lstrip("/")).is_file():
            raise NothingBootsError(f"{entry.file_name} wants {needed}, which is not there")
    path.rename(path.with_name(counted_down(entry.file_name)))
    options = " ".join(_values(lines, "options"))
    sysroot.command_line.parent.mkdir(parents=True, exist_ok=True)
    sysroot.command_line.write_text(options + "\n")
    chosen = [word for word in options.split() if word.startswith(f"{KERNEL_ARGUMENT}=")]
    if len(chosen) != 1:
        raise NothingBootsError(f"{entry.file_name} names no deployment: {options}")
    return DeploymentId(chosen[0].partition("=")[2])


def counted_down(file_name: str) -> str:
    """The name of an entry after one more try; numbers keep their width."""
    match = _COUNTER.fullmatch(file_name)
    if match is None or int(match["left"]) == 0:
        return file_name
    left = str(int(match["left"]) - 1).zfill(len(match["left"]))
    done = match["done"] or "0"
    return f"{match['name']}+{left}-{str(int(done) + 1).zfill(len(done))}.conf"


def _values(lines: Sequence[tuple[str, str]], key: str) -> list[str]:
    return [value for name, value in lines if name == key]
