"""Debian's SELinux policy over an upgrade: what is set here stays, what the image brings comes.

Its module store is in ``/var``, which belongs to the machine and not to the image.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.debian_selinux import COMING, GOING, STORE, copy, releases, within
from support.etc_trees import MemoryContents, read_tree

from bootd.etc.merge import MergedTrees, merge_trees
from bootd.etc.rules.built_in import BUILT_IN
from bootd.etc.rules.derived import Derived
from bootd.etc.rules.policy import EtcPolicies
from bootd.model.etc.policy import EtcRules

POLICIES = EtcPolicies.of(EtcRules(), EtcRules(), derived=Derived.of(BUILT_IN))
BOOLEAN = "cron_can_relabel"
# The roots of both releases have to be made once.
pytestmark = pytest.mark.timeout(1_200)
Live = Callable[[Path], None]
Upgrade = Callable[[Live], tuple[Path, MergedTrees]]


@pytest.fixture
def upgrade(tmp_path: Path) -> Iterator[Upgrade]:
    """Lives with the first release and carries it to the second one; returns that and the merge."""

    def carry(live: Live) -> tuple[Path, MergedTrees]:
        contents = MemoryContents()
        old, new = (copy(one, tmp_path / one.name) for one in releases())
        base, theirs = (read_tree(one / "etc", contents) for one in (old, new))
        live(old)
        # What belongs to the machine is the same folder under each deployment.
        shutil.rmtree(new / STORE)
        copy(old / STORE, new / STORE)
        shutil.rmtree(new / "etc")
        found = merge_trees(base, old / "etc", theirs, contents, new / "etc", policies=POLICIES)
        return new, found

    yield carry
    for one in tmp_path.iterdir():
        shutil.rmtree(one)


def make_anew(root: Path, found: MergedTrees) -> None:
    [due] = found.due
    assert due.derived.name == "selinux-policy"
    within(root, *due.derived.rule.command)


def modules(root: Path) -> set[str]:
    lines = within(root, "semodule", "--list-modules=full").splitlines()
    return {" ".join(line.split()[:2]) for line in lines}


def test_a_boolean_and_a_module_of_the_machine_meet_the_policy_that_comes(
    upgrade: Upgrade,
) -> None:
    def live(root: Path) -> None:
        (root / "tmp/corp.cil").write_text("(boolean corp_rule false)\n")
        within(root, "semodule", "-i", "/tmp/corp.cil")
        within(root, "setsebool", "-P", f"{BOOLEAN}=on")

    root, found = upgrade(live)
    assert found.report.conflicts == []
    make_anew(root, found)
    assert {f"100 {COMING}", "400 corp"} <= modules(root)
    assert f"100 {GOING}" not in modules(root)
    assert f"{BOOLEAN}=1" in (root / STORE / "default/active/booleans.local").read_text()
    [policy] = (root / "etc/selinux/default/policy").iterdir()
    assert {b"corp_rule", b"cdrecord_t"} == {
        name for name in (b"corp_rule", b"cdrecord_t", b"acct_t") if name in policy.read_bytes()
    }


def test_the_store_learns_of_a_policy_that_comes_to_a_machine_without_changes(
    upgrade: Upgrade,
) -> None:
    root, found = upgrade(lambda _: None)
    make_anew(root, found)
    # Otherwise this would bring the old policy back.
    within(root, "setsebool", "-P", f"{BOOLEAN}=on")
    assert f"100 {COMING}" in modules(root)
    [policy] = (root / "etc/selinux/default/policy").iterdir()
    assert b"cdrecord_t" in policy.read_bytes()


def test_with_the_same_policy_there_is_nothing_to_do(tmp_path: Path) -> None:
    contents = MemoryContents()
    _, release = releases()
    base = read_tree(release / "etc", contents)
    shutil.copytree(release / "etc", tmp_path / "etc", symlinks=True)
    theirs = read_tree(release / "etc", contents)
    found = merge_trees(
        base, tmp_path / "etc", theirs, contents, tmp_path / "merged", policies=POLICIES
    )
    assert found.due == []
