"""The merge of the account databases: what arrives, what stays, what is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.etc_merge import merge
from support.etc_trees import MemoryContents, folder, lay_out

from bootd.etc.accounts.elsewhere import clashes_elsewhere
from bootd.etc.accounts.merge import merge_accounts
from bootd.etc.merge import preview_merge

BASE = {
    "passwd": b"root:x:0:0:root:/root:/bin/bash\nold:x:9:9:old:/:/bin/sh\n",
    "group": b"root:x:0:\nold:x:9:\nsudo:x:27:\n",
    "shadow": b"root:*:1:0:99999:7:::\nold:*:1:0:99999:7:::\n",
    "gshadow": b"root:*::\nold:*::\nsudo:*::\n",
    "subuid": b"",
    "subgid": b"",
}
MINE = {
    "passwd": BASE["passwd"] + b"alice:x:999:999::/home/alice:/bin/bash\n",
    "group": BASE["group"].replace(b"27:", b"27:alice") + b"alice:x:999:\n",
    "shadow": BASE["shadow"] + b"alice:$y$a:2:0:99999:7:::\n",
    "gshadow": BASE["gshadow"].replace(b"sudo:*::", b"sudo:*::alice") + b"alice:!::\n",
    "subuid": b"alice:100000:65536\n",
    "subgid": b"alice:100000:65536\n",
}
Edit = tuple[str, bytes, bytes]


def edited(databases: dict[str, bytes], *edits: Edit) -> dict[str, bytes]:
    """Replace a text, or append where it is empty."""
    found = dict(databases)
    for database, old, new in edits:
        assert old in found[database]
        found[database] = found[database].replace(old, new) if old else found[database] + new
    return found


NEW_USER: list[Edit] = [
    ("passwd", b"", b"kea:x:997:996::/r:/n\n"),
    ("group", b"", b"kea:x:996:\n"),
    ("shadow", b"", b"kea:!:::::::\n"),
    ("gshadow", b"", b"kea:!::\n"),
]
CASES: dict[str, tuple[list[Edit], list[Edit], dict[str, bytes], list[str]]] = {
    "users of both": ([], NEW_USER, {"passwd": b"alice:x:999:999", "shadow": b"kea:!"}, []),
    "a field of the image": ([], [("passwd", b"old:/:", b"new:/:")], {"passwd": b":new:/:"}, []),
    "members as sets": ([], [("group", b"27:", b"27:old")], {"group": b"27:alice,old\n"}, []),
    "an id that is taken": (
        [], [("passwd", b"", b"redis:x:999:9::/:/n\n"), ("group", b"27:", b"27:redis")],
        {"group": b"27:alice,redis\n", "passwd": b"redis:x:998:9:"}, [],
    ),
    "the ids of a user and its group that are taken": (
        [], [("passwd", b"", b"redis:x:999:999::/:/n\n"), ("group", b"", b"redis:x:999:\n")],
        {"group": b"redis:x:998:\n", "passwd": b"redis:x:998:998:"}, [],
    ),
    "an id that is taken and one that the image has for another": (
        [], [("passwd", b"", b"redis:x:999:9::/:/n\nkea:x:998:9::/:/n\n")],
        {"passwd": b"redis:x:997:9::/:/n\nkea:x:998:9:"}, [],
    ),
    "an id of a person that is taken": (
        [("passwd", b"", b"bob:x:1000:9::/:/n\n")], [("passwd", b"", b"pi:x:1000:9::/:/n\n")],
        {"passwd": b"pi:x:1001:9:"}, [],
    ),
    "a group without a field for members": (
        [], [("group", b"", b"kea:x:996\n")], {"group": b"kea:x:996\n"}, [],
    ),
    "such a group whose id is taken": (
        [], [("group", b"", b"kea:x:999\n")], {"group": b"kea:x:998\n"}, [],
    ),
    "a number of a group that moved": (
        [("group", b"", b"kea:x:500:\n")], NEW_USER, {"passwd": b"kea:x:997:500:"}, [],
    ),
    "an id that the image moved": (
        [], [("passwd", b"old:x:9:", b"old:x:8:")], {"passwd": b"old:x:9:9"}, [],
    ),
    "no unlocking": (
        [], [("shadow", b"root:*:1:", b"root:$y$z:2:")], {"shadow": b"root:*:1:"},
        ["user 'root': the image would unlock it"],
    ),
    "no unlocking by an empty password": (
        [], [("shadow", b"root:*:1:", b"root::2:")], {"shadow": b"root:*:1:"},
        ["user 'root': the image would unlock it"],
    ),
    "no locking out": (
        [("shadow", b"root:*:1:", b"root:$y$m:3:")], [("shadow", b"root:*:1:", b"root:!*:5:")],
        {"shadow": b"root:$y$m:3:"}, ["user 'root': the image locks it"],
    ),
    "a password and its day are one": (
        [("shadow", b"root:*:1:", b"root:$y$m:3:")], [("shadow", b"root:*:1:", b"root:*:5:")],
        {"shadow": b"root:$y$m:3:"}, [],
    ),
    "both changed a shell": (
        [("passwd", b"/:/bin/sh", b"/:/bin/a")], [("passwd", b"/:/bin/sh", b"/:/bin/b")],
        {"passwd": b"old:/:/bin/a"}, ["user 'old': shell '/bin/a' here, '/bin/b' in the image"],
    ),
    "comments, NIS and malformed lines": (
        [("passwd", b"", b"# mine\nbad:x:\n+::::::\n")], NEW_USER,
        {"passwd": b"kea:x:997:996::/r:/n\n# mine\nbad:x:\n+::::::\n"}, [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("here", "there", "expected", "conflicts"), CASES.values(), ids=CASES.keys()
)
def test_case(
    here: list[Edit], there: list[Edit], expected: dict[str, bytes], conflicts: list[str]
) -> None:
    mine, theirs = edited(MINE, *here), edited(BASE, *there)
    merged = merge_accounts(BASE, mine, theirs)
    for database, text in expected.items():
        assert text in merged.contents[database]
    found = [finding.text for finding in merged.findings if finding.conflict]
    assert len(found) == len(conflicts)
    assert all(text.startswith(start) for text, start in zip(found, conflicts, strict=True))
    assert not any("$y$" in text for text in found)
    assert merge_accounts(BASE, merged.contents, theirs).contents == merged.contents


def test_one_sided_changes_are_taken_as_they_are() -> None:
    theirs = edited(BASE, *NEW_USER)
    assert merge_accounts(BASE, BASE, theirs).contents == theirs
    assert merge_accounts(BASE, MINE, BASE).contents == MINE
    assert merge_accounts(BASE, MINE, MINE).contents == MINE


def without_shadows(side: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in side.items() if "shadow" not in name}


def test_whoever_arrives_has_rows_although_the_image_has_none() -> None:
    """Images whose accounts are made at boot have no shadow; systemd-sysusers(8) wants it sound."""
    base = without_shadows(BASE)
    theirs = without_shadows(edited(BASE, *NEW_USER))
    mine = {**base, "shadow": BASE["shadow"] + b"stale:!*:1::::::\n", "gshadow": BASE["gshadow"]}
    merged = merge_accounts(base, mine, theirs)
    assert b"\nkea:!*:::::::\n" in merged.contents["shadow"]
    assert b"\nkea:!*::\n" in merged.contents["gshadow"]
    assert b"stale" not in merged.contents["shadow"]
    for row in BASE["shadow"].splitlines():
        assert row in merged.contents["shadow"].splitlines()
    assert not any(one.conflict for one in merged.findings)
    assert merge_accounts(base, merged.contents, theirs).contents == merged.contents
    # Whom the image removes goes with the row that was made here, unless somebody gave a password.
    back = merge_accounts(theirs, merged.contents, base).contents
    assert not any(b"kea" in data for data in back.values())
    opened = edited(merged.contents, ("shadow", b"kea:!*:", b"kea:$y$x:"))
    assert b"kea:" in merge_accounts(theirs, opened, base).contents["passwd"]


def test_ids_stay_on_an_untouched_machine_too() -> None:
    theirs = edited(BASE, ("passwd", b"old:x:9:9:old", b"old:x:8:9:older"), *NEW_USER)
    merged = merge_accounts(BASE, BASE, theirs)
    assert b"old:x:9:9:older:" in merged.contents["passwd"]
    assert b"kea:x:997:996:" in merged.contents["passwd"]
    [finding] = merged.findings
    assert not finding.conflict
    assert "id '9' here, '8' in the image; it keeps its id" in finding.text
    assert merge_accounts(BASE, merged.contents, theirs).contents == merged.contents


def test_where_no_id_is_free_a_user_is_left_out() -> None:
    full = b"".join(b"u%d:x:%d:9::/:/n\n" % (number, number) for number in range(100, 1000))
    mine = edited(BASE, ("passwd", b"", full))
    theirs = edited(BASE, ("passwd", b"", b"redis:x:500:9::/:/n\n"))
    merged = merge_accounts(BASE, mine, theirs)
    assert b"redis" not in merged.contents["passwd"]
    [text] = [finding.text for finding in merged.findings if finding.conflict]
    assert text.startswith("user 'redis': left out, because its id 500 belongs to 'u500' here")


@pytest.mark.parametrize(
    ("edit", "healed"),
    [
        (("shadow", b"", b"ghost:!:::::::\n"), lambda text: b"ghost" not in text),
        (("shadow", b"", b"root:$y$z:::::::\n"), lambda text: text.count(b"root:") == 1),
        (("shadow", b"old:*:1:0:99999:7:::\n", b""), lambda text: b"\nold:*:1:" in text),
    ],
    ids=["orphaned", "doubled", "missing"],
)
def test_shadow_is_healed(edit: Edit, healed: Callable[[bytes], bool]) -> None:
    merged = merge_accounts(BASE, edited(MINE, edit), edited(BASE, *NEW_USER))
    assert healed(merged.contents["shadow"])


def test_the_merge_of_etc_uses_it(tmp_path: Path) -> None:
    contents = MemoryContents()
    theirs = edited(BASE, *NEW_USER, ("passwd", b"", b"redis:x:999:9::/:/n\n"))
    trees = [
        folder({name: contents.file(data) for name, data in side.items()})
        for side in (BASE, MINE, theirs)
    ]
    mine = lay_out(trees[1], tmp_path / "mine", contents)

    preview = preview_merge(trees[0], mine, trees[2], contents).report
    report = merge(trees[0], mine, trees[2], contents, tmp_path / "target")

    expected = merge_accounts(BASE, MINE, theirs).contents
    assert {name: (tmp_path / "target" / name).read_bytes() for name in BASE} == expected
    assert ("/etc/passwd", "account") in [(one.path, one.kind) for one in report.notes]
    assert preview == report


LIB = {
    "passwd": b"gdm:x:42:42::/:/sbin/nologin\noper:x:500:500::/:/bin/sh\n",
    "group": b"gdm:x:42:\noper:x:500:\n",
}


def test_shadow_rows_of_users_below_usr_stay() -> None:
    base = edited(
        BASE, ("shadow", b"", b"gdm:*:1::::::\noper:*:1::::::\n"), ("gshadow", b"", b"oper:*::\n")
    )
    mine = edited(base, ("shadow", b"oper:*:1", b"oper:$y$here:2"))
    theirs = edited(base, ("group", b"", b"new:x:50:\n"), ("shadow", b"", b"late:*:1::::::\n"))
    lib = {**LIB, "passwd": LIB["passwd"] + b"late:x:501:501::/:/bin/sh\n"}
    merged = merge_accounts(base, mine, theirs, lib)
    shadow = merged.contents["shadow"]
    assert b"gdm:*:1:" in shadow
    assert b"oper:$y$here:2:" in shadow
    assert b"late:*:1:" in shadow
    assert b"oper:*::" in merged.contents["gshadow"]
    assert merge_accounts(base, merged.contents, theirs, lib).contents == merged.contents
    without = merge_accounts(base, mine, theirs).contents["shadow"]
    assert b"gdm" not in without


def test_ids_below_usr_that_somebody_else_has_are_told_once() -> None:
    mine = edited(MINE, ("passwd", b"", b"svc:x:42:9::/:/n\n"), ("group", b"", b"svc:x:500:\n"))
    found = clashes_elsewhere(mine, {}, LIB)
    assert [one.conflict for one in found] == [True, True]
    starts = ("user 'gdm': in /usr/lib/passwd", "group 'oper': in /usr/lib/group")
    assert all(one.text.startswith(start) for one, start in zip(found, starts, strict=True))
    assert all("which belongs to 'svc' here" in one.text for one in found)
    assert clashes_elsewhere(mine, LIB, LIB) == []
    assert clashes_elsewhere(MINE, {}, LIB) == []
    # The same name in both places is one account.
    assert clashes_elsewhere(edited(MINE, ("passwd", b"", b"gdm:x:42:9::/:/n\n")), {}, LIB) == []
