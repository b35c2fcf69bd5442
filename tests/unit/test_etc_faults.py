"""Faults of other systems' /etc merges, each with the test that bootd does not have it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.etc_merge import merge
from support.etc_trees import Flat, MemoryContents, flatten, folder, lay_out, link, read_back

from bootd.etc.diff import diff
from bootd.model.etc.report import ConflictKind, EtcReport, NoteKind
from bootd.model.tree import Directory

CONTENTS = MemoryContents()
text = CONTENTS.file


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def merged(
    place: Path, base: Directory, mine: Directory, theirs: Directory
) -> tuple[Flat, EtcReport]:
    local = lay_out(mine, place / "mine", CONTENTS)
    report = merge(base, local, theirs, CONTENTS, place / "target")
    return read_back(place / "target", times=False), report


def tree(directory: Directory) -> Flat:
    return flatten(directory, CONTENTS, times=False)


def test_large_extended_attributes_do_not_break_the_merge(place: Path) -> None:
    large = {b"user." + b"n" * 200: b"v" * 1000, b"user.many": b"w" * 1500}
    mine = folder({"f": text("a", xattrs=large)}, xattrs={b"user.d": b"x" * 300})

    found, report = merged(place, folder({"f": text("a")}), mine, folder({"f": text("b")}))

    assert found == tree(folder({"f": text("b", xattrs=large)}, xattrs={b"user.d": b"x" * 300}))
    assert report.notes == []


def test_files_of_equal_size_and_metadata_are_told_apart_by_content(place: Path) -> None:
    one, other = "x" * 5000, "y" * 5000
    base, mine = folder({"f": text(one)}), folder({"f": text(other)})

    found, report = merged(place, base, mine, folder({"f": text("z" * 5000)}))

    assert found[b"f"][1] == other.encode()
    assert [conflict.kind for conflict in report.conflicts] == [ConflictKind.CONTENT]


def test_a_file_replaced_by_a_populated_folder_keeps_what_is_in_it(place: Path) -> None:
    mine = folder({"f": folder({"x": text("x"), "d": folder({"y": text("y")})})})

    found, _ = merged(place, folder({"f": text("a")}), mine, folder())

    assert found == tree(mine)


def test_set_id_bits_survive(place: Path) -> None:
    mine = folder({"u": text("a", 0o4755), "g": text("b", 0o2755), "d": folder({}, 0o3777)})

    found, _ = merged(place, folder(), mine, folder())

    assert found == tree(mine)


def test_hard_links_survive(place: Path) -> None:
    shared, default = text("shared " * 20), text("default " * 20)
    mine = folder({"a": shared, "d": folder({"b": shared}), "x": default, "y": default})
    base = folder({"x": text("default " * 20)})
    theirs = folder({"x": text("default " * 20), "n": text("n")})

    merged(place, base, mine, theirs)

    target = place / "target"
    assert (target / "a").samefile(target / "d/b")
    assert (target / "x").samefile(target / "y")
    assert (target / "a").stat().st_nlink == 2


def test_hard_links_of_the_image_survive(place: Path) -> None:
    shared = text("shared " * 20)
    theirs = folder({"a": shared, "b": shared})

    merged(place, folder(), folder(), theirs)

    assert (place / "target/a").samefile(place / "target/b")


def test_a_hard_link_does_not_carry_an_edit_over(place: Path) -> None:
    """Of two names of one file the image changes one: the other must not follow."""
    shared = text("shared")
    mine = folder({"a": shared, "b": shared})
    base = folder({"a": text("shared")})

    found, _ = merged(place, base, mine, folder({"a": text("new")}))

    assert (found[b"a"][1], found[b"b"][1]) == (b"new", b"shared")


def test_a_hard_link_does_not_carry_a_mode_over(place: Path) -> None:
    """Of two names of one file the image makes one set-ID: the other must not become so."""
    shared = text("shared")
    mine = folder({"a": shared, "b": shared})
    base = folder({"a": text("shared")})

    found, _ = merged(place, base, mine, folder({"a": text("shared", 0o4755)}))

    assert (found[b"a"][2], found[b"b"][2]) == (0o4755, 0o644)


def test_modification_times_survive(place: Path) -> None:
    mine = folder({"f": text("a", time=123), "l": link("x", time=456)}, time=789)
    lay_out(mine, place / "mine", CONTENTS)

    merge(folder(), place / "mine", folder(), CONTENTS, place / "target")

    assert read_back(place / "target") == flatten(mine, CONTENTS)


def test_new_files_in_a_folder_deleted_here_appear(place: Path) -> None:
    base = folder({"d": folder({"old": text("old")})})
    theirs = folder({"d": folder({"old": text("old"), "new": text("new")})})

    found, report = merged(place, base, folder(), theirs)

    assert found == tree(folder({"d": folder({"new": text("new")})}))
    assert [(note.path, note.kind) for note in report.notes] == [
        ("/etc/d", NoteKind.FOLDER_REVIVED)
    ]


def test_a_local_mode_does_not_freeze_the_content(place: Path) -> None:
    found, report = merged(
        place,
        folder({"f": text("a")}),
        folder({"f": text("a", 0o600)}),
        folder({"f": text("security fix")}),
    )

    assert found == tree(folder({"f": text("security fix", 0o600)}))
    assert report.conflicts == []
    assert report.counts.merged == 1


def test_a_change_on_both_sides_is_not_silent(place: Path) -> None:
    _, report = merged(
        place,
        folder({"f": text("a" * 70)}),
        folder({"f": text("b" * 71)}),
        folder({"f": text("c" * 72)}),
    )

    (conflict,) = report.conflicts
    digests = [side.digest for side in (conflict.base, conflict.mine, conflict.theirs)]
    assert digests == [
        CONTENTS.measure([letter * length]).hex()
        for letter, length in ((b"a", 70), (b"b", 71), (b"c", 72))
    ]


def test_a_mode_change_of_only_a_folder_is_kept(place: Path) -> None:
    base = folder({"d": folder({"x": text("x")})})
    mine = folder({"d": folder({"x": text("x")}, 0o700)})

    found, _ = merged(place, base, mine, base)

    assert found == tree(mine)


def test_a_change_below_a_folder_does_not_undo_its_new_mode(place: Path) -> None:
    base = folder({"d": folder({"x": text("x")})})
    mine = folder({"d": folder({"x": text("edited")})})
    theirs = folder({"d": folder({"x": text("x")}, 0o700)})

    found, _ = merged(place, base, mine, theirs)

    assert found == tree(folder({"d": folder({"x": text("edited")}, 0o700)}))


def test_a_folder_made_a_file_here_does_not_abort(place: Path) -> None:
    base = folder({"d": folder({"x": text("x")})})
    theirs = folder({"d": folder({"x": text("changed")})})

    found, report = merged(place, base, folder({"d": text("file")}), theirs)

    assert found == tree(folder({"d": text("file")}))
    assert [conflict.kind for conflict in report.conflicts] == [ConflictKind.TYPE]


def test_a_file_below_what_the_image_made_a_file_does_not_abort(place: Path) -> None:
    base = folder({"d": folder({"x": text("x")})})
    mine = folder({"d": folder({"x": text("x"), "mine": text("mine")})})

    found, report = merged(place, base, mine, folder({"d": text("file")}))

    assert found == tree(mine)
    assert [conflict.kind for conflict in report.conflicts] == [ConflictKind.TYPE]


@pytest.mark.parametrize("absolute", [True, False])
def test_nothing_is_written_through_a_link_the_image_made_of_a_folder(
    absolute: bool, place: Path
) -> None:
    outside = place / "outside"
    outside.mkdir()
    base = folder({"d": folder({"x": text("x")})})
    mine = folder({"d": folder({"x": text("x"), "mine": text("mine")})})
    theirs = folder({"d": link(str(outside) if absolute else "../outside")})

    found, report = merged(place, base, mine, theirs)

    assert found == tree(mine)
    assert not list(outside.iterdir())
    assert [conflict.kind for conflict in report.conflicts] == [ConflictKind.TYPE]


def test_an_attribute_change_alone_is_seen(place: Path) -> None:
    mine = folder({"f": text("a", xattrs={b"user.note": b"mine"})})
    base = folder({"f": text("a")})

    found, _ = merged(place, base, mine, base)

    assert found == tree(mine)
    assert [change.kind for change in diff(base, place / "mine", CONTENTS).changes] == ["metadata"]


def test_the_update_stamp_is_not_carried(place: Path) -> None:
    found, _ = merged(place, folder(), folder({".updated": text("stamp")}), folder())

    assert found == tree(folder())


def test_a_dangling_link_and_a_deep_odd_folder_are_carried(place: Path) -> None:
    mine = folder(
        {"l": link("/nowhere"), "d": folder({"e": folder({"f": text("f")}, 0o700)}, 0o711)}
    )

    found, _ = merged(place, folder(), mine, folder())

    assert found == tree(mine)
    assert (place / "target/l").readlink() == Path("/nowhere")
