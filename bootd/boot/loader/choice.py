"""What systemd-boot starts by itself, and which setting makes it: a rule without I/O.

A setting names entries by a pattern. The first setting that names one which is there decides; among
several the one that is first in boot order is started. Where no setting names any, the first entry
is. A setting whose entry is gone is passed over.

Sources: systemd-boot(7), loader.conf(5), The Boot Loader Interface; ``config_select_default_entry``
in systemd's ``src/boot/boot.c``. The names that patterns are compared with have no counter since
systemd 258; before, the counter was part of them. `PREFERRED` is heeded since systemd 260.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from bootd.boot.loader.order import LoaderEntry, boot_order, identifier_of

SAVED: Final = "@saved"
"""Stands for what was started last."""
_FIRST_WITHOUT_COUNTER: Final = 258
_FIRST_WITH_PREFERRED: Final = 260


class Setting(StrEnum):
    """What tells the loader to start a certain entry, the strongest first.

    The values are the names of EFI variables and of lines in ``loader.conf``.
    """

    ONE_SHOT = "LoaderEntryOneShot"
    """For one boot; the loader takes it away."""
    PREFERRED = "LoaderEntryPreferred"
    PREFERRED_LINE = "preferred"
    DEFAULT = "LoaderEntryDefault"
    DEFAULT_LINE = "default"


_PREFERENCES: Final = frozenset({Setting.PREFERRED, Setting.PREFERRED_LINE})
"""These pass over entries that are out of tries; the others do not."""


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """What the loader was told besides its entries.

    Attributes:
        values: the pattern of each setting that is made.
        last_booted: what `SAVED` stands for.
        others: names of entries that are no file among the entries, such as ``auto-windows``.
        version: of systemd-boot, its first number; None: not known, taken for the newest.
    """

    values: Mapping[Setting, str] = field(default_factory=dict)
    last_booted: str | None = None
    others: tuple[str, ...] = ()
    version: int | None = None

    def but(self, **changes: str | None) -> LoaderSettings:
        """Return the same with other values, by the names of settings; None takes one away."""
        values = dict(self.values)
        for name, value in changes.items():
            values.pop(Setting[name], None)
            if value is not None:
                values[Setting[name]] = value
        return replace(self, values=values)

    def patterns(self) -> Iterable[tuple[Setting, str]]:
        """Yield the settings that this loader heeds, the strongest first."""
        for setting in Setting:
            value: str | None = self.values.get(setting, "")
            if setting in _PREFERENCES and not self._since(_FIRST_WITH_PREFERRED):
                continue
            if value and value.lower() == SAVED:
                value = self.last_booted
            if value:
                yield setting, value

    def name_of(self, entry: LoaderEntry) -> str:
        """Return the name by which this loader knows an entry."""
        counted = not self._since(_FIRST_WITHOUT_COUNTER)
        return entry.file_name if counted else identifier_of(entry.file_name)

    def _since(self, version: int) -> bool:
        return self.version is None or self.version >= version


@dataclass(frozen=True, slots=True)
class Choice:
    """What the loader starts.

    Attributes:
        name: the entry's, without a counter; None: there is nothing to start.
        setting: what made it so; None: the entry is the first in boot order.
        value: what the setting says, as it stands there.
    """

    name: str | None
    setting: Setting | None = None
    value: str = ""


def choose(entries: Iterable[LoaderEntry], settings: LoaderSettings) -> Choice:
    """Return what systemd-boot starts without a person at the keyboard.

    Args:
        entries: all Type #1 entries, anybody's.
        settings: what it was told.
    """
    ordered = boot_order(entries)
    for setting, pattern in settings.patterns():
        heeds_tries = setting in _PREFERENCES
        names = [
            (settings.name_of(entry), identifier_of(entry.file_name))
            for entry in ordered
            if not (heeds_tries and entry.tries_left == 0)
        ]
        names += [(name, name) for name in settings.others]
        for name, identifier in names:
            if fnmatchcase(name.lower(), pattern.lower()):
                return Choice(identifier, setting, settings.values[setting])
    first = next(iter(ordered), None)
    return Choice(None if first is None else identifier_of(first.file_name))
