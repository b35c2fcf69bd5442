"""Lines that somebody added to a boot entry of bootd's go into the entry that follows it.

A board may need a ``devicetree``, a processor its microcode as an ``initrd`` of its own before the
main one, a program its ``x-`` keys. Whatever bootd did not write goes along, in its order.

A line that names a file which is not on ``$BOOT`` any more is an exception: systemd-boot does not
start an entry whose initrd or devicetree it cannot read. Neither to write such an entry nor to
refuse all upgrades for it would do, so the line is left out and kept as ``x-bootd-left-out``; the
status tells of it, and the first entry that is written when the file is back has the line again.

Source: UAPI.1 Boot Loader Specification, "Type #1 Boot Loader Specification Entry Keys".
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from bootd.boot.entry import (
    DEVICETREE_NAME,
    INITRAMFS_NAME,
    KERNEL_FOLDER,
    KERNEL_NAME,
    MAX_EXTRA,
    MAX_VALUE,
    PATH,
    SOURCE_KEY,
    BootEntry,
)
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

LEFT_OUT: Final = "x-bootd-left-out"
"""The key of a line that is left out; the line is its value."""

_INITRD: Final = "initrd"
_SEVERAL: Final = "devicetree-overlay"
_NAMES_FILES: Final = frozenset({_INITRD, DEVICETREE_NAME, _SEVERAL, "efi", "uki"})
_OWN_FILE: Final = re.compile(
    rf"/{KERNEL_FOLDER}/[^/]+/(?:{KERNEL_NAME}|{INITRAMFS_NAME}|{DEVICETREE_NAME})"
)
"""What bootd itself puts on ``$BOOT``, for one kernel; the next entry names its own."""

_Line = tuple[str, str]


def with_added_lines(sysroot: Sysroot, entry: BootEntry, before: BootEntry | None) -> BootEntry:
    """Return an entry with what somebody added to the one before it.

    Args:
        sysroot: the machine; its ``$BOOT`` is looked at for the files that the lines name.
        entry: as bootd composes it.
        before: the entry that the machine runs with, or an older one of the same deployment.
    """
    if before is None:
        return entry
    carried = carry_lines(entry, before, partial(_is_there, sysroot))
    for key, value in carried.extra:
        if key == LEFT_OUT:
            _log.warning(
                "%s does not have the line '%s': no such file on $BOOT", carried.plain_name, value
            )
    return carried


def as_it_was(
    sysroot: Sysroot, entry: BootEntry, before: BootEntry | None, current: BootEntry | None
) -> BootEntry:
    """Return the entry of an older deployment, with what somebody changed in it.

    That is part of what a machine goes back to.

    Args:
        sysroot: the machine.
        entry: as bootd composes it.
        before: the one that the deployment has; None where it was given up to make room.
        current: the one that the machine runs with; then its lines are all that is known.
    """
    if before is None:
        return with_added_lines(sysroot, entry, current and _without_sources(current))
    entry = replace(_without_sources(entry), arguments=before.arguments)
    return with_added_lines(sysroot, entry, before)


def _without_sources(entry: BootEntry) -> BootEntry:
    lines = tuple(line for line in entry.extra if not line[0].startswith(SOURCE_KEY))
    return replace(entry, extra=lines)


def carry_lines(entry: BootEntry, before: BootEntry, is_there: Callable[[str], bool]) -> BootEntry:
    """Return an entry with the lines that others added to another one.

    Args:
        entry: as bootd composes it.
        before: where the lines are.
        is_there: whether a path names a file on ``$BOOT``.
    """
    first, last, others = _added(before)
    kept_first, kept_last, kept = (
        [line for line in lines if _is_usable(line, is_there)] for lines in (first, last, others)
    )
    left_out = [
        (LEFT_OUT, " ".join(line))
        for line in (*first, *last, *others)
        if not _is_usable(line, is_there)
    ]
    said = {key for key, _ in entry.extra if key.startswith(SOURCE_KEY)}
    kept = [line for line in kept if line[0] not in said]
    keys = {key for key, _ in kept}
    composed = [line for line in entry.extra if line[0] not in keys]
    extra = [*composed, *kept, *(line for line in left_out if len(line[1]) <= MAX_VALUE)]
    return replace(
        entry,
        initrds=(*_values(kept_first), *entry.initrds, *_values(kept_last)),
        extra=tuple(extra[:MAX_EXTRA]),
    )


def line_problems(sysroot: Sysroot, entries: Iterable[BootEntry]) -> list[str]:
    """Return what has to be told of lines of others: which of them name files that are gone."""
    return [problem for entry in entries for problem in _problems_of(sysroot, entry)]


def _problems_of(sysroot: Sysroot, entry: BootEntry) -> list[str]:
    name = f"the boot entry {entry.file_name}"
    restored = _restored(entry)
    left_out = [
        f"{name} is without the line '{value}': it names a file that is not on the boot partition"
        for key, value in entry.extra
        if key == LEFT_OUT
    ]
    lines = [line for part in _added(entry) for line in part if line not in restored]
    return left_out + [
        f"{name} has the line '{' '.join(line)}', and no such file is on the boot partition: it "
        "may not boot, and the next entry will be without that line"
        for line in lines
        if not _is_usable(line, partial(_is_there, sysroot))
    ]


def _added(entry: BootEntry) -> tuple[list[_Line], list[_Line], list[_Line]]:
    """Return what others added: initrds before the main one, those after it, and other lines."""
    own = [_OWN_FILE.fullmatch(path) is not None for path in entry.initrds]
    main = own.index(True) if True in own else len(own)
    initrds = [(_INITRD, path) for path in entry.initrds]
    last = [line for line, is_own in list(zip(initrds, own, strict=True))[main:] if not is_own]
    restored = _restored(entry)
    # Microcode has to come first, and what was left out may be that.
    first = [*initrds[:main], *(line for line in restored if line[0] == _INITRD)]
    others = [line for line in entry.extra if not _is_composed(line)]
    return first, last, [*others, *(line for line in restored if line[0] != _INITRD)]


def _restored(entry: BootEntry) -> list[_Line]:
    """Return the lines that were left out of an entry."""
    lines = [value.partition(" ") for key, value in entry.extra if key == LEFT_OUT]
    return [(key, value) for key, _, value in lines if key in _NAMES_FILES and value]


def _is_composed(line: _Line) -> bool:
    key, value = line
    if key == LEFT_OUT:
        return value.partition(" ")[0] in _NAMES_FILES
    if key.startswith(SOURCE_KEY) and not value:
        # The program that owned some has had its last word.
        return True
    return key in _NAMES_FILES and _OWN_FILE.fullmatch(value) is not None


def _is_usable(line: _Line, is_there: Callable[[str], bool]) -> bool:
    key, value = line
    if key not in _NAMES_FILES:
        return True
    if key == _INITRD and PATH.fullmatch(value) is None:
        return False
    return all(is_there(path) for path in (value.split() if key == _SEVERAL else [value]))


def _is_there(sysroot: Sysroot, path: str) -> bool:
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    try:
        return ".." not in parts and sysroot.boot.joinpath(*parts).is_file()
    except OSError:
        # The name is longer than a file system takes.
        return False


def _values(lines: list[_Line]) -> list[str]:
    return [value for _, value in lines]
