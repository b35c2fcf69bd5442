"""The boot order: versions, entries of all kinds, and that both loaders agree about ours."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.boot_tree import boot_entry, grub_order

from bootd.boot.loader.order import (
    LoaderEntry,
    boot_order,
    compare_versions,
    loader_entry,
)

# UAPI.10, "Examples", and what systemd-analyze compare-versions answers for the rest.
ORDERED = [
    ("11", "==", "11"),
    ("systemd-123", "==", "systemd-123"),
    ("bar-123", "<", "foo-123"),
    ("123a", ">", "123"),
    ("123.a", ">", "123"),
    ("123.a", "<", "123.b"),
    ("123a", ">", "123.a"),
    ("11\u03b1", "==", "11\u03b2"),
    ("A", "<", "a"),
    ("", "<", "0"),
    ("0.", ">", "0"),
    ("0.0", ">", "0"),
    ("0", ">", "~"),
    ("", ">", "~"),
    ("1_", "==", "1"),
    ("_1", "==", "1"),
    ("1_", "<", "1.2"),
    ("1_2_3", ">", "1.3.3"),
    ("1+2+3", ">", "1.3.3"),
    ("1_2", "<", "5"),
    ("123~rc1", "<", "123"),
    ("123^x", ">", "123"),
    ("123-1", "<", "123.1"),
    ("123-1", ">", "123~1"),
    ("1.", ">", "1^"),
    ("1-", "<", "1^"),
    ("1-", "<", "1-0"),
    ("1-", ">", "1-."),
    ("1-~", ">", "1-."),
    ("1~", "<", "1~~"),
    ("a1", "==", "a01"),
    ("a.1", "<", "a1"),
    ("aB", "<", "ab"),
    ("0007", "<", "10000"),
    ("9" * 5000, "<", "1" + "0" * 5000),
]


@pytest.mark.parametrize(("first", "relation", "second"), ORDERED)
def test_versions(first, relation, second):
    expected = {"<": -1, "==": 0, ">": 1}[relation]
    assert compare_versions(first, second) == expected
    assert compare_versions(second, first) == -expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("09aZ.-~^_", max_size=6), min_size=2, max_size=5))
def test_version_order_does_not_depend_on_the_side(versions):
    for first in versions:
        assert compare_versions(first, first) == 0
        for second in versions:
            assert compare_versions(first, second) == -compare_versions(second, first)


# Each list from the top of the menu to its bottom.
MENUS = {
    "bad ones last, whatever else they have": [
        LoaderEntry("z.conf"),
        LoaderEntry("a+0-3.conf", "aaa", None, "9"),
    ],
    "with a sort key before those without": [
        LoaderEntry("a-1.conf", "zzz", None, "1"),
        LoaderEntry("z-9.conf"),
    ],
    "sort keys rise": [LoaderEntry("1.conf", "a"), LoaderEntry("2.conf", "b")],
    "machines rise before versions fall; no machine is lowest": [
        LoaderEntry("1.conf", "a", None, "1"),
        LoaderEntry("2.conf", "a", "01", "1"),
        LoaderEntry("3.conf", "a", "02", "9"),
    ],
    "versions fall": [
        LoaderEntry("1.conf", "a", None, "10"),
        LoaderEntry("2.conf", "a", None, "9"),
        LoaderEntry("3.conf", "a", None, "9~1"),
        LoaderEntry("4.conf", "a"),
    ],
    "names fall as versions": [LoaderEntry("k-6.10.conf"), LoaderEntry("k-6.9.conf")],
    "counters are no part of the name": [LoaderEntry("k-2+1-2.conf"), LoaderEntry("k-1+3.conf")],
}


@pytest.mark.parametrize("menu", MENUS.values(), ids=MENUS.keys())
def test_menu(menu):
    for seed in range(5):
        shuffled = random.Random(seed).sample(menu, len(menu))
        assert boot_order(shuffled) == menu


@pytest.mark.parametrize(
    ("name", "tries_left"),
    [
        ("a.conf", None),
        ("a+3.conf", 3),
        ("a+3-0.conf", 3),
        ("a+0-3.conf", 0),
        ("a+b+2-1.conf", 2),
        ("a+3-.conf", None),
        ("a+3-0", 3),
        ("a+-1.conf", None),
        ("a+3.1.conf", None),
    ],
)
def test_counter(name, tries_left):
    assert loader_entry(name, b"").tries_left == tries_left


def test_a_foreign_entry_is_read_as_a_loader_does():
    text = b"# comment\n\ntitle X\n  sort-key  debian \nversion 6.1\xff\nlinux /k\nmachine-id\tab\n"
    assert loader_entry("x.conf", text) == LoaderEntry("x.conf", "debian", "ab", "6.1\ufffd")


serials = st.lists(st.integers(1, 20_000), min_size=1, max_size=8, unique=True)


@settings(max_examples=100, deadline=None)
@given(serials, st.randoms(use_true_random=False))
def test_the_highest_serial_boots_in_both_loaders(numbers, source):
    entries = [boot_entry(number, deployment=source.getrandbits(60)) for number in numbers]
    falling = sorted(numbers, reverse=True)
    assert [entry.serial for entry in boot_order(entries)] == falling
    ordered = grub_order([entry.file_name for entry in entries])
    assert [int(name.split("-")[1]) for name in ordered] == falling


@settings(max_examples=100, deadline=None)
@given(serials, st.integers(1, 9), st.randoms(use_true_random=False))
def test_a_new_counted_entry_is_first_in_both_loaders(numbers, tries, source):
    newest = boot_entry(max(numbers) + 1, tries=tries)
    entries = [boot_entry(number, deployment=source.getrandbits(60)) for number in numbers]
    assert boot_order([*entries, newest])[0] == newest
    names = [entry.file_name for entry in [*entries, newest]]
    assert grub_order(names)[0] == newest.file_name
