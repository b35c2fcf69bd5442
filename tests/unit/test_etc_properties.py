"""What holds for every three trees."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.effort import heavy
from support.etc_merge import merge
from support.etc_oracle import SPECIAL, expected_merge
from support.etc_strategies import CONTENTS, TREES
from support.etc_trees import Flat, flatten, lay_out, read_back

from bootd.etc.merge import first_etc
from bootd.model.etc.report import EtcReport, escape, unescape
from bootd.model.tree import Directory

EXAMPLES = heavy(15, full=2_400)


@contextmanager
def merged(
    base: Directory, mine: Directory, theirs: Directory
) -> Iterator[tuple[Path, Flat, EtcReport]]:
    """Merge in a folder whose neighbour must stay empty; it is where `../outside` leads."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "outside").mkdir()
        local = lay_out(mine, place / "mine", CONTENTS)
        report = merge(base, local, theirs, CONTENTS, place / "target")
        assert sorted(path.name for path in place.iterdir()) == ["mine", "outside", "target"]
        assert not list((place / "outside").iterdir())
        yield place, read_back(place / "target"), report


@EXAMPLES
@given(TREES, TREES)
def test_an_untouched_machine_gets_the_new_defaults(base: Directory, theirs: Directory) -> None:
    with merged(base, base, theirs) as (_, found, report):
        assert found == flatten(theirs, CONTENTS)
        assert (report.conflicts, report.notes) == ([], [])


@EXAMPLES
@given(TREES, TREES)
def test_unchanged_defaults_leave_a_machine_as_it_is(base: Directory, mine: Directory) -> None:
    carried = flatten(mine, CONTENTS)
    known = flatten(base, CONTENTS)
    skipped = {
        path
        for path, value in carried.items()
        if value[0] in SPECIAL and known.get(path, (None,))[0] != value[0]
    }
    with merged(base, mine, base) as (_, found, report):
        assert found == {path: value for path, value in carried.items() if path not in skipped}
        assert report.conflicts == []
        assert {unescape(note.path) for note in report.notes} == {b"/etc/" + p for p in skipped}


@EXAMPLES
@given(TREES, TREES)
def test_defaults_equal_to_the_machine_change_nothing(base: Directory, mine: Directory) -> None:
    with merged(base, mine, mine) as (_, found, report):
        assert found == flatten(mine, CONTENTS)
        assert (report.conflicts, report.notes) == ([], [])


@EXAMPLES
@given(TREES, TREES, TREES)
def test_any_three_trees_merge_as_the_rules_say(
    base: Directory, mine: Directory, theirs: Directory
) -> None:
    flat = [flatten(tree, CONTENTS, times=False) for tree in (base, mine, theirs)]
    tree, conflicts = expected_merge(*flat)
    with merged(base, mine, theirs) as (place, found, report):
        assert read_back(place / "target", times=False) == tree
        listed = {(conflict.path, str(conflict.kind)) for conflict in report.conflicts}
        assert listed == {
            (escape(b"/etc/" + path) if path else "/etc", kind) for path, kind in conflicts
        }
        sides = flatten(mine, CONTENTS), flatten(theirs, CONTENTS)
        for path, value in found.items():
            here = [side[path] for side in sides if path in side]
            assert value[:2] in [side[:2] for side in here]
            assert value[2:6] in [side[2:6] for side in here]
            assert value[6] in [side[6] for side in here]


@EXAMPLES
@given(TREES, TREES, TREES)
def test_merging_again_gives_the_same(base: Directory, mine: Directory, theirs: Directory) -> None:
    with merged(base, mine, theirs) as (place, found, report):
        again = merge(base, place / "mine", theirs, CONTENTS, place / "again")
        assert read_back(place / "again") == found
        assert again == report


@EXAMPLES
@given(TREES)
def test_a_first_etc_is_the_images(theirs: Directory) -> None:
    with tempfile.TemporaryDirectory() as name:
        first_etc(theirs, CONTENTS, Path(name) / "etc")
        assert read_back(Path(name) / "etc") == flatten(theirs, CONTENTS)


@given(st.binary(max_size=40))
def test_names_are_printed_without_loss(name: bytes) -> None:
    text = escape(name)
    assert text.isprintable()
    assert unescape(text) == name
