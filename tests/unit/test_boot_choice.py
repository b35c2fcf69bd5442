"""What systemd-boot starts by itself, and because of which setting."""

from __future__ import annotations

import pytest
from support.boot_tree import boot_entry

from bootd.boot.entry import BootEntry
from bootd.boot.loader.choice import Choice, LoaderSettings, Setting, choose
from bootd.boot.loader.order import LoaderEntry

FOREIGN = LoaderEntry("debian.conf", "aaa", None, "99")
OLD = "bootd-0006-000000000000000a.0.conf"
NEW = "bootd-0007-000000000000000a.0.conf"


def loader(entry: BootEntry) -> LoaderEntry:
    return LoaderEntry(entry.file_name, entry.sort_key, entry.machine_id, entry.version)


def entries(*, tries: int | None = 3, done: int = 0) -> list[LoaderEntry]:
    newest = boot_entry(7) if tries is None else boot_entry(7, tries=tries, done=done)
    return [FOREIGN, loader(newest), loader(boot_entry(6))]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Choice("debian.conf")),
        ({"default": "bootd-*"}, Choice(NEW, Setting.DEFAULT_LINE, "bootd-*")),
        ({"default": "BOOTD-*.conf"}, Choice(NEW, Setting.DEFAULT_LINE, "BOOTD-*.conf")),
        ({"default": "arch-*"}, Choice("debian.conf")),
        ({"default": "bootd-*", "LoaderEntryDefault": OLD}, Choice(OLD, Setting.DEFAULT, OLD)),
        ({"default": "bootd-*", "LoaderEntryDefault": NEW}, Choice(NEW, Setting.DEFAULT, NEW)),
        (
            {"default": "bootd-*", "LoaderEntryDefault": "bootd-0001-gone.conf"},
            Choice(NEW, Setting.DEFAULT_LINE, "bootd-*"),
        ),
        (
            {"LoaderEntryDefault": OLD, "preferred": "deb*"},
            Choice("debian.conf", Setting.PREFERRED_LINE, "deb*"),
        ),
        (
            {"LoaderEntryPreferred": OLD, "preferred": "deb*"},
            Choice(OLD, Setting.PREFERRED, OLD),
        ),
        (
            {"LoaderEntryPreferred": NEW, "LoaderEntryOneShot": "debian.conf"},
            Choice("debian.conf", Setting.ONE_SHOT, "debian.conf"),
        ),
        (
            {"default": "bootd-*", "LoaderEntryOneShot": "auto-windows"},
            Choice("auto-windows", Setting.ONE_SHOT, "auto-windows"),
        ),
        ({"LoaderEntryDefault": "@saved"}, Choice(OLD, Setting.DEFAULT, "@saved")),
        ({"default": "@saved"}, Choice(OLD, Setting.DEFAULT_LINE, "@saved")),
        (
            {"LoaderEntryDefault": "bootd-000[67]-?????*"},
            Choice(NEW, Setting.DEFAULT, "bootd-000[67]-?????*"),
        ),
    ],
)
def test_the_strongest_setting_that_names_an_entry_decides(values, expected):
    known = LoaderSettings(
        {Setting(key): value for key, value in values.items()},
        last_booted=OLD,
        others=("auto-windows",),
    )
    assert choose(entries(), known) == expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (Setting.ONE_SHOT, NEW),
        (Setting.PREFERRED, OLD),
        (Setting.PREFERRED_LINE, OLD),
        (Setting.DEFAULT, NEW),
        (Setting.DEFAULT_LINE, NEW),
    ],
)
def test_only_a_preference_heeds_the_tries(setting, expected):
    known = LoaderSettings({Setting.DEFAULT_LINE: OLD, setting: NEW})
    assert choose(entries(tries=0, done=3), known).name == expected


@pytest.mark.parametrize(
    ("version", "pattern", "expected"),
    [
        (257, NEW, "debian.conf"),
        (257, NEW.replace(".conf", "+3-0.conf"), NEW),
        (257, NEW.replace(".conf", "*"), NEW),
        (258, NEW, NEW),
        (258, NEW.replace(".conf", "+3-0.conf"), "debian.conf"),
        (None, NEW, NEW),
    ],
)
def test_older_loaders_know_entries_by_their_names_with_the_counter(version, pattern, expected):
    known = LoaderSettings({Setting.DEFAULT: pattern}, version=version)
    assert choose(entries(), known).name == expected


@pytest.mark.parametrize(("version", "expected"), [(259, NEW), (260, OLD), (None, OLD)])
def test_older_loaders_have_no_preference(version, expected):
    values = {Setting.PREFERRED: OLD, Setting.DEFAULT_LINE: "bootd-*"}
    assert choose(entries(), LoaderSettings(values, version=version)).name == expected


def test_nothing_is_started_where_there_is_nothing():
    assert choose([], LoaderSettings({Setting.DEFAULT: "*"})) == Choice(None)
