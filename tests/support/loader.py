"""In place of boot loader and kernel: picks an entry, counts it down, sets the command line.

It does what systemd-boot does with Type #1 entries (UAPI.1, "Boot counting"; systemd-boot(7)), but
starts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from bootd.boot.entry import BootEntry, text_lines
from bootd.boot.loader.order import LoaderEntry, boot_order, loader_entry
from bootd.model.deployment import DeploymentId
from bootd.sysroot import KERNEL_ARGUMENT, Sysroot

_COUNTER = re.compile(r"(?P<name>.*)\+(?P<left>[0-9]+)(-(?P<done>[0-9]+))?\.conf")
_VENDOR = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"


class NothingBootsError(AssertionError):
    """The machine would stop in the boot menu."""


def set_variable(sysroot: Sysroot, name: str, value: str | bytes | None) -> None:
    """Set an EFI variable of the loader's; bytes are its content as it is; None: remove it."""
    path = sysroot.efi_variables / f"{name}-{_VENDOR}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if value is not None:
        text = value if isinstance(value, bytes) else f"{value}\0".encode("utf-16-le")
        path.write_bytes(b"\7\0\0\0" + text)


def get_variable(sysroot: Sysroot, name: str) -> str:
    """The text of an EFI variable of the loader's; empty where it is not set."""
    path = sysroot.efi_variables / f"{name}-{_VENDOR}"
    return path.read_bytes()[4:].decode("utf-16-le").rstrip("\0") if path.exists() else ""


def plain(file_name: str) -> str:
    """The name of an entry without its counter."""
    match = _COUNTER.fullmatch(file_name)
    return file_name if match is None else f"{match['name']}.conf"


def next_entry(sysroot: Sysroot) -> LoaderEntry:
    """The entry that the loader would start without a person at the keyboard.

    Raises:
        NothingBootsError: there is none.
    """
    folder = sysroot.boot / "loader/entries"
    paths = sorted(folder.glob("[!.]*.conf"))
    entries = boot_order(loader_entry(path.name, path.read_bytes()) for path in paths)
    settings = sysroot.boot / "loader/loader.conf"
    lines = dict(text_lines(settings.read_bytes()) if settings.exists() else [])
    not_bad = [entry for entry in entries if entry.tries_left != 0]
    wishes = (
        (get_variable(sysroot, "LoaderEntryOneShot"), entries),
        (get_variable(sysroot, "LoaderEntryPreferred"), not_bad),
        (lines.get("preferred", ""), not_bad),
        (get_variable(sysroot, "LoaderEntryDefault"), entries),
        (lines.get("default", ""), entries),
    )
    for wish, candidates in wishes:
        pattern = get_variable(sysroot, "LoaderEntryLastBooted") if wish == "@saved" else wish
        for entry in candidates:
            if fnmatchcase(plain(entry.file_name).lower(), pattern.lower()):
                return entry
    if not entries:
        raise NothingBootsError(f"{folder} has no entry")
    return entries[0]


def boot(sysroot: Sysroot, chosen: str | None = None) -> DeploymentId:
    """Boot the machine: afterwards ``/proc/cmdline`` is that of the entry the loader picked.

    Args:
        sysroot: the machine.
        chosen: the name, without counter, of what a person picks in the menu.

    Raises:
        NothingBootsError: there is no entry, or its kernel or initramfs is missing.
    """
    folder = sysroot.boot / "loader/entries"
    if chosen is None:
        name = next_entry(sysroot).file_name
    else:
        [name] = [path.name for path in folder.iterdir() if plain(path.name) == chosen]
    if sysroot.efi_variables.is_dir():
        set_variable(sysroot, "LoaderEntryOneShot", None)
        set_variable(sysroot, "LoaderEntryLastBooted", plain(name))
        set_variable(sysroot, "LoaderEntrySelected", plain(name))
    path = folder / name
    lines = text_lines(path.read_bytes())
    for needed in (*_values(lines, "linux"), *_values(lines, "initrd")):
        if not (sysroot.boot / needed.lstrip("/")).is_file():
            raise NothingBootsError(f"{name} wants {needed}, which is not there")
    path.rename(path.with_name(counted_down(name)))
    options = " ".join(_values(lines, "options"))
    sysroot.command_line.parent.mkdir(parents=True, exist_ok=True)
    sysroot.command_line.write_text(options + "\n")
    chosen_ids = [word for word in options.split() if word.startswith(f"{KERNEL_ARGUMENT}=")]
    if len(chosen_ids) != 1:
        raise NothingBootsError(f"{name} names no deployment: {options}")
    return DeploymentId(chosen_ids[0].partition("=")[2])


def counted_down(file_name: str) -> str:
    """The name of an entry after one more try; numbers keep their width."""
    match = _COUNTER.fullmatch(file_name)
    if match is None or int(match["left"]) == 0:
        return file_name
    left = str(int(match["left"]) - 1).zfill(len(match["left"]))
    done = match["done"] or "0"
    return f"{match['name']}+{left}-{str(int(done) + 1).zfill(len(done))}.conf"


def use_up_tries(sysroot: Sysroot, entry: BootEntry) -> None:
    """Boot an entry that never comes up, until the loader gives it up."""
    folder = sysroot.boot / "loader/entries"
    [name] = [path.name for path in folder.iterdir() if plain(path.name) == entry.plain_name]
    done = (entry.tries_left or 0) + entry.tries_done
    (folder / name).rename(folder / replace(entry, tries_left=0, tries_done=done).file_name)


def _values(lines: Sequence[tuple[str, str]], key: str) -> list[str]:
    return [value for name, value in lines if name == key]
