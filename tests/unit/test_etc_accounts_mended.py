"""A conflict of accounts closes when what it asks for is done, and no sooner."""

from __future__ import annotations

import pytest

from bootd.etc.accounts.elsewhere import clashes_elsewhere
from bootd.etc.accounts.mended import is_mended
from bootd.etc.accounts.merge import merge_accounts
from bootd.etc.accounts.records import DATABASES

BASE = {
    "passwd": b"root:x:0:0::/root:/bin/sh\nkea:x:101:101:Kea:/:/bin/false\n",
    "group": b"root:x:0:\nkea:x:101:\n",
    "shadow": b"root:*:1::::::\nkea:!:1::::::\n",
    "gshadow": b"root:*::\nkea:!::\n",
    "subuid": b"kea:100000:65536\n",
    "subgid": b"kea:100000:65536\n",
}


def edited(side: dict[str, bytes], **changes: tuple[bytes, bytes]) -> dict[str, bytes]:
    found = dict(side)
    for name, (old, new) in changes.items():
        assert old in found[name]
        found[name] = found[name].replace(old, new)
    return found


MINE = edited(
    BASE,
    passwd=(b":Kea:/:/bin/false", b":Mine:/:/bin/mine"),
    shadow=(b"kea:!:", b"kea:$y$mine:"),
    subuid=(b"100000", b"200000"),
)
THEIRS = edited(
    BASE,
    passwd=(b":Kea:/:/bin/false", b":Kea:/:/bin/new"),
    shadow=(b"kea:!:", b"kea:$y$new:"),
    subuid=(b"100000", b"300000"),
)
CASES = {
    "a shell": (MINE, THEIRS, "passwd", (b"/bin/mine", b"/bin/new")),
    "a password": (MINE, THEIRS, "shadow", (b"$y$mine", b"$y$new")),
    "ranges": (MINE, THEIRS, "subuid", (b"200000", b"300000")),
    "a lock": (
        edited(BASE, shadow=(b"kea:!:", b"kea:!!:")),
        edited(BASE, shadow=(b"kea:!:", b"kea::")),
        "shadow",
        (b"kea:!!:", b"kea:$y$x:"),
    ),
    "one who went there": (
        MINE,
        {
            name: data.replace(b"kea", b"\n") if name == "passwd" else data
            for name, data in BASE.items()
        },
        "passwd",
        (b"kea:x:101:101:Mine:/:/bin/mine\n", b""),
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_mended_conflict_is_none(kind: str) -> None:
    mine, theirs, database, mend = CASES[kind]
    merged = merge_accounts(BASE, mine, theirs)
    [told] = [one for one in merged.findings if one.conflict and one.database == database]
    assert not is_mended(database, told.text, merged.contents, theirs)
    # Something else about the same user is another thing.
    other = dict(merged.contents)
    other["passwd"] = other["passwd"].replace(b":Mine:", b":Other:")
    assert not is_mended(database, told.text, other, theirs)
    after = edited(merged.contents, **{database: mend})
    assert is_mended(database, told.text, after, theirs)


def test_a_number_that_changed_hands_is_told_until_somebody_decides() -> None:
    theirs = {
        name: data.replace(b"kea", b"dhcp") if name in ("passwd", "group") else data
        for name, data in BASE.items()
    }
    merged = merge_accounts(BASE, BASE, theirs)
    told = [one for one in merged.findings if "which was that of" in one.text]
    assert {one.database for one in told} == {"passwd", "group"}
    assert all(one.conflict for one in told)
    for one in told:
        assert not is_mended(one.database, one.text, merged.contents, theirs)


def test_a_clash_with_an_account_elsewhere_closes_when_the_number_is_free() -> None:
    [told] = clashes_elsewhere(BASE, {}, {"passwd": b"qemu:x:101:101::/:/bin/sh\n"})
    assert not is_mended("passwd", told.text, BASE, BASE)
    after = edited(BASE, passwd=(b"kea:x:101:", b"kea:x:555:"))
    assert is_mended("passwd", told.text, after, BASE)


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize(
    "text", ["", "'", "user '\\xzz': left out, x", "lines", "user 'kea': new words"]
)
def test_what_is_not_understood_stays_open(database: str, text: str) -> None:
    assert not is_mended(database, text, MINE, THEIRS)
