"""What holds of a merge of account databases, whatever they hold."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from support.account_databases import Databases, three_databases
from support.effort import heavy

from bootd.etc.accounts.merge import MergedAccounts, merge_accounts
from bootd.etc.accounts.owners import Numbers, owners_of

EXAMPLES = heavy(25, full=8_000)
Three = tuple[Databases, Databases, Databases]
THREE = three_databases()


def rows(databases: Databases, name: str) -> dict[str, list[str]]:
    """The rows by name; of several of one name the first."""
    found: dict[str, list[str]] = {}
    for line in databases[name].decode().splitlines():
        found.setdefault(line.partition(":")[0], line.split(":"))
    return found


def told(merged: MergedAccounts, name: str) -> bool:
    return any(f"'{name}'" in finding.text for finding in merged.findings)


def opens(password: str) -> bool:
    return password[:1] not in ("!", "*")


@EXAMPLES
@given(THREE)
def test_merging_the_result_again_changes_nothing(three: Three) -> None:
    base, mine, theirs = three
    merged = merge_accounts(base, mine, theirs).contents
    assert merge_accounts(base, merged, theirs).contents == merged


@EXAMPLES
@given(THREE)
def test_no_name_is_doubled(three: Three) -> None:
    merged = merge_accounts(*three).contents
    for database in ("passwd", "group", "shadow", "gshadow"):
        names = [line.partition(b":")[0] for line in merged[database].splitlines()]
        assert len(names) == len(set(names))


@EXAMPLES
@given(THREE)
def test_no_two_names_share_an_id_that_did_not_on_one_side(three: Three) -> None:
    _, mine, theirs = three
    merged = merge_accounts(*three).contents
    for database in ("passwd", "group"):
        sides = [rows(side, database) for side in (mine, theirs)]
        for one, other in combinations(rows(merged, database).values(), 2):
            if one[2] == other[2]:
                pair = one[0], other[0]
                assert any(
                    pair[0] in side and pair[1] in side and side[pair[0]][2] == side[pair[1]][2]
                    for side in sides
                ), pair


@EXAMPLES
@given(THREE)
def test_every_local_account_can_still_log_in(three: Three) -> None:
    base, mine, theirs = three
    merged = merge_accounts(base, mine, theirs).contents
    for name, row in rows(mine, "passwd").items():
        if name in rows(base, "passwd"):
            continue
        after = rows(merged, "passwd")[name]
        assert after[2] == row[2]
        groups = [{group[2] for group in rows(side, "group").values()} for side in (mine, merged)]
        if row[3] in groups[0]:
            assert after[3] in groups[1]
        shadow, now = (rows(side, "shadow").get(name) for side in (mine, merged))
        if shadow is not None and base != mine:
            assert now is not None
            assert opens(now[1]) == opens(shadow[1])


@EXAMPLES
@given(THREE)
def test_no_id_changes_and_no_lock_opens(three: Three) -> None:
    base, mine, theirs = three
    merged = merge_accounts(base, mine, theirs).contents
    for database in ("passwd", "group"):
        after = rows(merged, database)
        for name, row in rows(mine, database).items():
            if name in after:
                assert after[name][2] == row[2]
    if mine == base:
        return  # What the image locks or unlocks is taken where nothing was changed here.
    after = rows(merged, "shadow")
    for name, row in rows(mine, "shadow").items():
        if name in after and name in rows(mine, "passwd"):
            assert opens(after[name][1]) == opens(row[1])


@EXAMPLES
@given(THREE)
def test_every_account_of_the_image_exists_or_is_reported(three: Three) -> None:
    base, mine, theirs = three
    merged = merge_accounts(base, mine, theirs)
    for database in ("passwd", "group"):
        after = rows(merged.contents, database)
        for name in rows(theirs, database):
            deleted = name in rows(base, database) and name not in rows(mine, database)
            assert name in after or deleted or told(merged, name), (database, name)


@EXAMPLES
@given(THREE)
def test_what_goes_was_removed_by_the_image_or_told(three: Three) -> None:
    base, mine, theirs = three
    merged = merge_accounts(base, mine, theirs)
    for database in ("passwd", "group"):
        after = rows(merged.contents, database)
        for name in rows(mine, database):
            removed = name in rows(base, database) and name not in rows(theirs, database)
            assert name in after or removed, (database, name)


@EXAMPLES
@given(THREE)
def test_a_file_of_the_image_belongs_to_a_name_that_the_image_gave_it(three: Three) -> None:
    base, mine, theirs = three
    merged = merge_accounts(base, mine, theirs).contents
    owners = owners_of(Numbers.of(theirs), Numbers.of(merged))
    for database, target in (("passwd", owners.user), ("group", owners.group)):
        here, there = rows(merged, database), rows(theirs, database)
        for number in {0, 5, 999, *(int(row[2]) for row in there.values())} - {0}:
            names = {name for name, row in there.items() if int(row[2]) == number}
            held: set[int | None] = {int(here[name][2]) for name in names if name in here}
            taken = {int(row[2]) for row in here.values()}
            wanted = held or {None} if names or number in taken else {number}
            assert target(number) in wanted, (database, number, names)
