"""What the boot loader starts at the next boot, and at those after it, as far as can be read.

EFI variables that cannot be read, or do not hold what they should, are as good as none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.boot.entries import DEFAULT_PATTERN, others_in, with_default
from bootd.boot.entry import PREFIX, SORT_KEY, SUFFIX, is_own_name, text_lines
from bootd.boot.listing import highest_serial
from bootd.boot.loader.choice import SAVED, Choice, LoaderSettings, Setting, choose
from bootd.boot.loader.efi_variables import read_list, read_variable, variable_file
from bootd.boot.loader.order import LoaderEntry, identifier_of, loader_entry
from bootd.boot.places import entry_files, loader_configuration, read_text
from bootd.sysroot import Sysroot

_VARIABLES: Final = (Setting.ONE_SHOT, Setting.PREFERRED, Setting.DEFAULT)
_LINES: Final = (Setting.PREFERRED_LINE, Setting.DEFAULT_LINE)
_VERSION: Final = re.compile(r"systemd-boot ([0-9]{1,6})", re.ASCII)
_NOT_HEEDED: Final = "@"
"""What starts so is no pattern; the loader knows `SAVED` only and skips such a line."""
_ANY: Final = f"{'f' * 16}.0"
"""In place of the ID of a deployment that is not there yet."""


@dataclass(frozen=True, slots=True)
class NextBoot:
    """What the loader starts.

    Attributes:
        now: at the next boot.
        later: at the boots after that, when a choice for one boot is used up.
        update: at the boot after a new entry of this installation was made.
        update_name: the name such an entry would have.
        passed_over: names of bootd's entries without a kernel, which the loader leaves out.
    """

    now: Choice
    later: Choice
    update: Choice
    update_name: str
    passed_over: tuple[str, ...] = ()

    @property
    def update_boots(self) -> bool:
        """Whether a new entry of this installation would be started."""
        return self.update.name == self.update_name


def next_boot(sysroot: Sysroot) -> NextBoot:
    """Return what boots; needs no lock.

    Raises:
        InvalidBootEntryError: the folder of entries holds more files than can be meant.
        WriteFailedError: it, or ``loader.conf``, cannot be read.
    """
    files = [(path.name, read_text(path)) for path in entry_files(sysroot)]
    texts = {name: data for name, data in files if data is not None}
    passed_over = {name for name, data in texts.items() if _lacks_kernel(sysroot, name, data)}
    entries = [loader_entry(name, data) for name, data in texts.items() if name not in passed_over]
    configuration = read_text(loader_configuration(sysroot)) or b""
    settings = _read_settings(sysroot, configuration, entries)
    lasting = settings.but(ONE_SHOT=None)
    serial = f"{highest_serial(name for name, _ in files) + 1:04d}"
    new = LoaderEntry(f"{PREFIX}{serial}-{_ANY}+1-0{SUFFIX}", SORT_KEY, None, serial)
    # Whoever makes an entry sets this line right, if it is no other system's choice.
    following = lasting.but(
        DEFAULT_LINE=_lines(with_default(configuration, others_in(sysroot))).get("default")
    )
    return NextBoot(
        now=_choice(entries, settings),
        later=_choice(entries, lasting),
        update=_choice([*entries, new], following),
        update_name=identifier_of(new.file_name),
        passed_over=tuple(sorted(identifier_of(name) for name in passed_over)),
    )


def _lacks_kernel(sysroot: Sysroot, name: str, data: bytes) -> bool:
    """Tell whether the loader leaves an entry out; of others' entries it is not looked for."""
    kernel = dict(text_lines(data)).get("linux", "")
    return is_own_name(name) and not (sysroot.boot / kernel.lstrip("/")).is_file()


def _choice(entries: Iterable[LoaderEntry], settings: LoaderSettings) -> Choice:
    """Return what boots; the line that bootd itself writes leaves it to the order of entries."""
    choice = choose(entries, settings)
    is_own = choice.setting is Setting.DEFAULT_LINE and choice.value == DEFAULT_PATTERN
    return Choice(choice.name) if is_own else choice


def setting_files(sysroot: Sysroot) -> list[Path]:
    """Return the files in which what overrides the boot order is written, there or not."""
    variables = [variable_file(sysroot, setting.value) for setting in _VARIABLES]
    return [loader_configuration(sysroot), *variables]


def selected_entry(sysroot: Sysroot) -> str | None:
    """Return the name, without counter, of the entry that the loader started this boot with."""
    name = read_variable(sysroot, "LoaderEntrySelected")
    return None if name is None else identifier_of(name)


def loader_counted(sysroot: Sysroot) -> bool:
    """Return whether the loader says that it counted this boot: what runs is on trial."""
    return read_variable(sysroot, "LoaderBootCountPath") is not None


def _read_settings(
    sysroot: Sysroot, configuration: bytes, entries: Iterable[LoaderEntry]
) -> LoaderSettings:
    lines = _lines(configuration)
    settings = {setting: lines.get(setting.value) for setting in _LINES}
    settings |= {setting: read_variable(sysroot, setting.value) for setting in _VARIABLES}
    version = _VERSION.match(read_variable(sysroot, "LoaderInfo") or "")
    return LoaderSettings(
        values={setting: value for setting, value in settings.items() if value},
        last_booted=read_variable(sysroot, "LoaderEntryLastBooted"),
        others=_others(sysroot, entries),
        version=None if version is None else int(version[1]),
    )


def _lines(configuration: bytes) -> dict[str, str]:
    """Return the last value of each key, but for those that the loader skips."""
    return {
        key: value
        for key, value in text_lines(configuration)
        if value and (value.lower() == SAVED or not value.startswith(_NOT_HEEDED))
    }


def _others(sysroot: Sysroot, entries: Iterable[LoaderEntry]) -> tuple[str, ...]:
    """Return what the loader found elsewhere when it ran last: other loaders, the other partition.

    bootd's own names are no news: what is not there any more was removed since.
    """
    listed = read_list(sysroot, "LoaderEntries")
    known = {identifier_of(entry.file_name).lower() for entry in entries}
    return tuple(
        name
        for name in listed
        if not is_own_name(name) and identifier_of(name).lower() not in known
    )
