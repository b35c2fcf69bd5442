"""A plan of a merge is changed whole: tree, conflicts and counts say one thing."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.etc_trees import MemoryContents, folder, link, metadata

from bootd.etc.disk.write import Source, empty_folder, write_tree
from bootd.etc.rules.decide import decide
from bootd.etc.rules.plan import Plan, Tally
from bootd.model.etc.report import ConflictKind, NoteKind
from bootd.model.tree import Node, RegularFile, SpecialFile, lookup

CONTENTS = MemoryContents()
text = CONTENTS.file


def of_file(base: RegularFile, mine: RegularFile, theirs: RegularFile) -> Plan:
    return decide(folder({"f": base}), folder({"f": mine}), folder({"f": theirs}))


def kinds(plan: Plan) -> list[ConflictKind]:
    return [one.kind for one in plan.conflicts]


def test_a_path_with_two_conflicts_is_kept_until_both_are_answered() -> None:
    plan = of_file(text("base"), text("mine", 0o600), text("theirs", 0o640))
    first, second = plan.conflicts
    assert plan.tallies == {Tally.KEPT: 1}
    assert plan.take_theirs(first)
    assert (plan.tallies, plan.conflicts) == ({Tally.KEPT: 1}, [second])
    assert plan.take_theirs(second)
    assert (plan.tallies, plan.conflicts) == ({Tally.TAKEN: 1}, [])
    taken = lookup(plan.tree(), b"f")
    assert isinstance(taken, RegularFile)
    assert (taken.content, taken.metadata.permissions) == (b"theirs", 0o640)


@pytest.mark.parametrize(
    ("theirs", "tallies"),
    [({}, {Tally.REMOVED: 4}), ({"d": link("x")}, {Tally.REMOVED: 3, Tally.TAKEN: 1})],
    ids=["nothing", "a link"],
)
def test_with_a_folder_of_mine_goes_all_that_is_in_it(
    theirs: dict[str, Node], tallies: dict[Tally, int]
) -> None:
    base = folder({"d": folder({"old": text("1"), "below": folder({"x": text("2")})})})
    mine = folder({"d": folder({"new": text("3"), "below": folder({"x": text("2")})})})
    plan = decide(base, mine, folder(theirs))
    [conflict] = plan.conflicts
    assert plan.tallies == {Tally.KEPT: 4}
    assert plan.take_theirs(conflict)
    assert plan.tallies == tallies
    assert plan.tree().entries.keys() == folder(theirs).entries.keys()


def test_nothing_changes_where_the_folder_of_a_path_does_not_stand() -> None:
    base = folder({"d": folder({"f": text("1")})})
    plan = decide(base, folder(), folder({"d": folder({"f": text("2")})}))
    conflict = next(one for one in plan.conflicts if one.path == b"d/f")
    before = plan.tallies, list(plan.conflicts)
    assert not plan.take_theirs(conflict)
    assert (plan.tallies, plan.conflicts) == before
    assert plan.at(b"d/f") is None


def test_the_folder_itself_can_be_the_images() -> None:
    plan = decide(folder(mode=0o755), folder(mode=0o700), folder(mode=0o711))
    [conflict] = plan.conflicts
    assert (conflict.path, kinds(plan)) == (b"", [ConflictKind.METADATA])
    assert plan.take_theirs(conflict)
    assert (plan.tree().metadata.permissions, plan.tallies) == (0o711, {Tally.TAKEN: 1})


def test_a_dismissed_conflict_leaves_mine_and_its_count() -> None:
    plan = of_file(text("base"), text("mine"), text("theirs"))
    plan.dismiss(plan.conflicts[0])
    assert (plan.tallies, plan.conflicts) == ({Tally.KEPT: 1}, [])
    kept = lookup(plan.tree(), b"f")
    assert isinstance(kept, RegularFile)
    assert kept.content == b"mine"


def test_notes_of_the_writer_are_below_the_place_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.mknod", refuse)
    device = SpecialFile(metadata(), 0o020000, 0x103)
    plan = decide(folder(), folder(), folder({"lib": folder({"null": device})}))
    with empty_folder(tmp_path / "var") as descriptor:
        source = Source(None, CONTENTS)
        notes = write_tree(plan.root, descriptor, tmp_path / "var", source, "/var")
    assert [(note.path, note.kind) for note in notes] == [
        ("/var/lib/null", NoteKind.SPECIAL_SKIPPED)
    ]
