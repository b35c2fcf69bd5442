"""The targets of ``make fuzz`` read their seeds, which are also what they once failed at."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.target import CORPUS, Target, TooSlowError
from fuzz.targets import TARGETS
from support.tar_blocks import extended, member

SEEDS = [(name, seed) for name, target in TARGETS.items() for seed in target.seeds()]


@pytest.mark.parametrize(("name", "seed"), SEEDS, ids=lambda one: getattr(one, "name", one))
def test_a_seed_is_read_or_refused(name: str, seed: Path) -> None:
    TARGETS[name].try_on(seed.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_what_it_is_for(name: str) -> None:
    target = TARGETS[name]
    assert any(target.try_on(seed.read_bytes()) for seed in target.seeds())


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_refused_as_such(name: str) -> None:
    for data in (b"", b"\0", b"\xff" * 1_000, b"{" * 10_000, b"[" * 100_000, bytes(5_000)):
        TARGETS[name].try_on(data)


MANY = {
    "a key twice after thousands": (
        "policy",
        b"{%s'a1':0}" % b"".join(b"'a%d':0," % n for n in range(9_000)),
    ),
    "one owner of thousands of ranges": ("accounts", b"\n--\n" * 17 + b"me:1:1\n" * 15_000),
    "thousands of members": ("accounts", b"g:x:1:" + b"".join(b"u%d," % n for n in range(15_000))),
    "one device with thousands of parents": (
        "lsblk",
        b"{'blockdevices':[%s]}"
        % b",".join(b"{'path':'/a','pkname':'%d'}" % n for n in range(4_000)),
    ),
    "thousands of challenges": ("headers", b"Basic a=b," * 12_000),
    "a challenge that does not end": ("headers", b'Basic a="' + b"\\" * 120_000),
    "thousands of entries": ("tar", b"\x10" + member(b"usr/a") * 250),
    "thousands of records": ("tar", b"\x10" + extended(*[(b"a", b"b")] * 15_000)),
    "thousands of words": ("command-line", b"a " * 60_000),
    "one long word": ("command-line", b"a" * 120_000),
    "thousands of expressions": (
        "contexts",
        b"".join(b"/a%d(b|c)* x:y:z\n" % n for n in range(6_000)),
    ),
    "thousands of short messages": ("bus", b"\x0c" + b"l\x01\0\x01" + bytes(12) * 10_000),
}


@pytest.mark.parametrize("what", MANY)
def test_much_of_one_thing_takes_no_longer_than_its_size_is_worth(what: str) -> None:
    name, data = MANY[what]
    TARGETS[name].try_on(data.replace(b"'", b'"') if name in {"policy", "lsblk"} else data)


def test_each_folder_of_seeds_has_its_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


def test_work_that_grows_with_the_square_is_seen() -> None:
    def quadratic(data: bytes) -> None:
        seen: list[bytes] = []
        for word in data.split():
            if word not in seen:
                seen.append(word)

    target = Target("quadratic", quadratic)
    target.try_on(b"a b c")
    with pytest.raises(TooSlowError, match=r"quadratic: .* took"):
        target.try_on(b" ".join(b"%d" % number for number in range(20_000)))


def test_other_errors_are_failures() -> None:
    with pytest.raises(UnicodeDecodeError):
        Target("text", bytes.decode).try_on(b"\xff")
