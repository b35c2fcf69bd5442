"""Merging a folder that is in use, on a disk that fails; reports and differences."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from support.etc_merge import merge
from support.etc_trees import MemoryContents, fifo, flatten, folder, lay_out, link, read_back

from bootd.etc.diff import diff
from bootd.etc.disk.snapshot import MAX_DEPTH, scan_folder
from bootd.etc.merge import MAX_ATTEMPTS, VAR_DEPTH, first_etc, first_var, preview_merge
from bootd.model.errors import (
    DamagedObjectError,
    EtcTooLargeError,
    InvalidArgumentError,
    InvalidTreeError,
    NoSpaceError,
    WriteFailedError,
)
from bootd.model.etc.report import MAX_CONFLICTS, MAX_NOTES, EtcReport, NoteKind, unescape
from bootd.model.tree import Directory, RegularFile

LONG = "longer than what is kept inline " * 4


class BusyContents(MemoryContents):
    """Contents that let a test act in the middle of a merge."""

    def __init__(self) -> None:
        super().__init__()
        self.on_measure: Callable[[], None] = lambda: None
        self.on_open: Callable[[], None] = lambda: None

    def measure(self, chunks: Iterable[bytes]) -> bytes:
        digest = super().measure(chunks)
        self.on_measure()
        return digest

    def open(self, file: RegularFile) -> int:
        self.on_open()
        return super().open(file)


@pytest.fixture
def contents() -> BusyContents:
    return BusyContents()


def once(action: Callable[[], object]) -> Callable[[], None]:
    pending = [action]

    def act() -> None:
        while pending:
            pending.pop()()

    return act


def names(place: Path) -> list[str]:
    return [path.name for path in place.iterdir()]


def test_an_edit_during_the_merge_is_not_lost(tmp_path: Path, contents: BusyContents) -> None:
    base = folder({"a": contents.file(LONG), "z": contents.file(LONG)})
    mine = lay_out(base, tmp_path / "mine", contents)
    theirs = folder(
        {"a": contents.file("new"), "z": contents.file("new"), "n": contents.file(LONG)}
    )
    contents.on_open = once(lambda: (mine / "a").write_text("edited late"))

    report = merge(base, mine, theirs, contents, tmp_path / "target")

    assert (tmp_path / "target/a").read_text() == "edited late"
    assert (tmp_path / "target/z").read_text() == "new"
    assert [conflict.path for conflict in report.conflicts] == ["/etc/a"]
    assert report.notes == []


def test_a_file_created_during_the_merge_is_not_lost(
    tmp_path: Path, contents: BusyContents
) -> None:
    base = folder({"d": folder({"a": contents.file("a")})})
    mine = lay_out(base, tmp_path / "mine", contents)
    contents.on_open = once(lambda: (mine / "d/late").write_text("late"))

    merge(base, mine, folder({"n": contents.file(LONG)}), contents, tmp_path / "target")

    assert (tmp_path / "target/d/late").read_text() == "late"
    # The folder holds something of mine now, and so it stays whole.
    assert (tmp_path / "target/d/a").read_text() == "a"


def test_a_file_replaced_while_it_is_measured_is_read_again(
    tmp_path: Path, contents: BusyContents
) -> None:
    base = folder({"a": contents.file(LONG)})
    mine = lay_out(base, tmp_path / "mine", contents)
    contents.on_measure = once(lambda: (mine / "a").write_text(LONG.upper()))

    merge(base, mine, base, contents, tmp_path / "target")

    assert (tmp_path / "target/a").read_text() == LONG.upper()


def test_a_preview_reads_a_changing_file_again(tmp_path: Path, contents: BusyContents) -> None:
    base = folder({"a": contents.file(LONG)})
    mine = lay_out(base, tmp_path / "mine", contents)
    contents.on_measure = once(lambda: (mine / "a").write_text(LONG.upper()))

    report = preview_merge(base, mine, base, contents).report

    assert (report.counts.kept, report.counts.conflicts) == (1, 0)


def test_a_file_that_never_holds_still_is_carried_and_noted(
    tmp_path: Path, contents: BusyContents
) -> None:
    base = folder({"a": contents.file(LONG), "b": contents.file(LONG)})
    mine = lay_out(base, tmp_path / "mine", contents)
    versions = iter(range(1000))

    def write() -> None:
        (mine / "a").write_text(f"{next(versions):04d}" * 32)

    contents.on_measure = write
    theirs = folder({"a": contents.file(LONG), "b": contents.file("new")})

    report = merge(base, mine, theirs, contents, tmp_path / "target")

    assert [(note.path, note.kind) for note in report.notes] == [("/etc/a", NoteKind.CHANGING)]
    assert len((tmp_path / "target/a").read_text()) == 128
    assert (tmp_path / "target/b").read_text() == "new"
    assert next(versions) < 20 * MAX_ATTEMPTS


def test_a_file_that_vanishes_during_the_merge_is_gone(
    tmp_path: Path, contents: BusyContents
) -> None:
    mine = lay_out(
        folder({"a": contents.file("x" * 100), "d": folder({"b": contents.file("y" * 100)})}),
        tmp_path / "mine",
        contents,
    )

    def remove() -> None:
        (mine / "a").unlink()
        (mine / "d/b").unlink()
        (mine / "d").rmdir()
        (mine / "d").symlink_to(tmp_path)

    contents.on_open = once(remove)
    theirs = folder({"0": contents.file(LONG)})

    report = merge(folder(), mine, theirs, contents, tmp_path / "target")

    assert sorted(names(tmp_path / "target")) == ["0", "d"]
    assert (tmp_path / "target/d").readlink() == tmp_path
    assert report.notes == []


def test_a_link_planted_in_the_target_leads_no_write_out(
    tmp_path: Path, contents: BusyContents
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    theirs = folder({"d": folder({"a": contents.file(LONG), "b": contents.file(LONG * 2)})})

    def plant() -> None:
        (target / "d").rename(tmp_path / "moved")
        (target / "d").symlink_to(outside)

    contents.on_open = once(plant)

    first_etc(theirs, contents, target)

    assert not list(outside.iterdir())
    assert sorted(names(tmp_path / "moved")) == ["a", "b"]


def test_a_name_planted_in_the_target_is_not_written_to(
    tmp_path: Path, contents: BusyContents
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    target = tmp_path / "target"
    theirs = folder({"a": contents.file(LONG), "b": contents.file("b")})
    contents.on_open = once(lambda: (target / "b").hardlink_to(outside))

    with pytest.raises(WriteFailedError, match="File exists"):
        first_etc(theirs, contents, target)

    assert outside.read_text() == "untouched"


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, NoSpaceError),
        (errno.EDQUOT, NoSpaceError),
        (errno.EIO, WriteFailedError),
    ],
)
def test_a_failing_disk_aborts(
    number: int, error: type[Exception], tmp_path: Path, contents: BusyContents
) -> None:
    mine = lay_out(folder(), tmp_path / "mine", contents)

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    contents.on_open = fail

    with pytest.raises(error, match=os.strerror(number)):
        merge(folder(), mine, folder({"a": contents.file(LONG)}), contents, tmp_path / "target")


def test_an_object_of_the_wrong_size_aborts(tmp_path: Path, contents: BusyContents) -> None:
    file = contents.file(LONG)
    assert file.verity is not None
    contents.objects[file.verity] = b"short"

    with pytest.raises(DamagedObjectError, match=r"/etc/a in the image has 5 bytes instead of 128"):
        first_etc(folder({"a": file}), contents, tmp_path / "target")


def test_a_target_that_is_not_empty_is_refused(tmp_path: Path, contents: BusyContents) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target/left").touch()

    with pytest.raises(WriteFailedError, match="not empty"):
        first_etc(folder(), contents, tmp_path / "target")


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("."), lambda _: None])
def test_an_etc_that_is_no_folder_is_refused(
    make: Callable[[Path], None], tmp_path: Path, contents: BusyContents
) -> None:
    make(tmp_path / "mine")

    with pytest.raises(WriteFailedError, match="cannot read"):
        preview_merge(folder(), tmp_path / "mine", folder(), contents)


def test_an_etc_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    place = tmp_path
    (tmp_path / "sibling").touch()
    for _ in range(MAX_DEPTH):
        place /= "d"
    place.mkdir(parents=True)

    with pytest.raises(EtcTooLargeError, match=f"deeper than {MAX_DEPTH}"):
        scan_folder(tmp_path)


def test_the_deepest_etc_allowed_is_merged(tmp_path: Path, contents: BusyContents) -> None:
    deep = folder({"f": contents.file("f")})
    for _ in range(MAX_DEPTH - 1):
        deep = folder({"d": deep})
    mine = lay_out(deep, tmp_path / "mine", contents)

    merge(folder(), mine, folder(), contents, tmp_path / "target")

    assert read_back(tmp_path / "target") == flatten(deep, contents)


def nested(depth: int) -> Directory:
    root = folder()
    for _ in range(depth):
        root = folder({"d": root})
    return root


def test_a_var_of_an_image_has_a_depth(tmp_path: Path, contents: BusyContents) -> None:
    with pytest.raises(InvalidTreeError, match="below 257 folders; 256 are allowed"):
        first_var(nested(VAR_DEPTH + 2), contents, tmp_path / "deep")
    assert not (tmp_path / "deep").exists()
    first_var(nested(VAR_DEPTH + 1), contents, tmp_path / "var")
    assert (tmp_path / "var" / "/".join(["d"] * (VAR_DEPTH + 1))).is_dir()


def test_only_files_that_could_be_equal_are_measured(
    tmp_path: Path, contents: BusyContents
) -> None:
    base = folder({"a": contents.file(LONG), "b": contents.file(LONG)})
    mine = lay_out(
        folder(
            {"a": contents.file(LONG), "b": contents.file(LONG + "!"), "c": contents.file(LONG)}
        ),
        tmp_path / "mine",
        contents,
    )
    measured: list[None] = []
    contents.on_measure = lambda: measured.append(None)

    preview_merge(base, mine, base, contents)

    assert len(measured) == 1


def test_an_untouched_file_is_the_very_node_of_its_default(
    tmp_path: Path, contents: BusyContents
) -> None:
    base = folder(
        {"same": contents.file(LONG), "small": contents.file("a"), "mode": contents.file(LONG)}
    )
    mine = lay_out(base, tmp_path / "mine", contents)
    (mine / "mode").chmod(0o600)

    found = scan_folder(mine, contents, (base,)).root.entries

    assert found[b"same"] is base.entries[b"same"]
    assert found[b"small"] is base.entries[b"small"]
    assert found[b"mode"] is not base.entries[b"mode"]


def test_copies_of_a_hard_linked_default_stay_apart(tmp_path: Path, contents: BusyContents) -> None:
    linked = contents.file(LONG)
    base = folder({"a": linked, "b": linked})
    apart = folder({"a": contents.file(LONG), "b": contents.file(LONG)})
    mine = lay_out(apart, tmp_path / "mine", contents)

    found = scan_folder(mine, contents, (base, base)).root.entries

    assert found[b"a"] is not found[b"b"]
    assert preview_merge(base, mine, base, contents).report.conflicts == []


def test_counts_say_which_way_each_path_went(tmp_path: Path, contents: BusyContents) -> None:
    text = contents.file
    base = folder({name: text("old") for name in "abcdefg"})
    mine = lay_out(
        folder({
            "a": text("old"), "b": text("old"), "c": text("mine"), "e": text("old", 0o600),
            "f": text("mine"), "g": text("old"), "m": text("mine"),
        }),
        tmp_path / "mine",
        contents,
    )  # fmt: skip
    theirs = folder({
        "a": text("new"), "c": text("old"), "d": text("old"), "e": text("new"), "f": text("new"),
        "g": text("old"), "n": text("new"),
    })  # fmt: skip

    counts = preview_merge(base, mine, theirs, contents).report.counts

    assert counts.model_dump() == {
        "taken": 2, "removed": 1, "kept": 3, "deleted": 1, "merged": 1, "conflicts": 1,
        "security": 0,
    }  # fmt: skip


def test_a_report_is_bounded_and_counts_the_rest(tmp_path: Path, contents: BusyContents) -> None:
    text = contents.file
    mine = folder({f"c{number}": text("mine") for number in range(MAX_CONFLICTS + 7)})
    for number in range(MAX_NOTES + 5):
        mine.entries[b"s%d" % number] = fifo()
    theirs = folder({f"c{number}": text("theirs") for number in range(MAX_CONFLICTS + 7)})

    report = preview_merge(
        folder(), lay_out(mine, tmp_path / "mine", contents), theirs, contents
    ).report

    assert (len(report.conflicts), len(report.notes)) == (MAX_CONFLICTS, MAX_NOTES)
    assert report.truncated == 12
    assert report.counts.conflicts == MAX_CONFLICTS + 7


def test_a_report_survives_json_and_newer_fields(tmp_path: Path, contents: BusyContents) -> None:
    mine = folder({"f": link("a"), "g": contents.file("x", 0o600, xattrs={b"user.x": b"1"})})
    theirs = folder({"f": contents.file(LONG), "g": contents.file("x")})
    local = lay_out(mine, tmp_path / "mine", contents)

    report = preview_merge(folder(), local, theirs, contents).report

    text = json.loads(report.model_dump_json())
    assert (text["kind"], text["version"]) == ("EtcReport", 1)
    assert EtcReport.model_validate({**text, "later": 1}) == report
    first, second = report.conflicts
    assert (first.base.type, first.mine.type, first.mine.target) == ("absent", "symlink", "a")
    assert (first.theirs.type, first.theirs.size) == ("file", len(LONG))
    assert (second.mine.mode, list(second.mine.xattrs)) == ("0600", ["user.x"])


@pytest.mark.parametrize("text", ["\\", "a\\n", "\\x4", "\\xZZ", "\udc80"])
def test_a_path_that_was_not_printed_by_bootd_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        unescape(text)


def test_diff_lists_what_the_machine_changed(tmp_path: Path, contents: BusyContents) -> None:
    text = contents.file
    base = folder({
        "content": text("a"), "metadata": text("a"), "both": text("a"), "type": text("a"),
        "gone": folder({"x": text("x")}), "same": text(LONG), "d": folder({"x": text("x")}),
    })  # fmt: skip
    mine = folder({
        "content": text("b"), "metadata": text("a", 0o600), "both": text("b", 0o600),
        "type": link("t"), "same": text(LONG), "d": folder({"x": text("x"), "y": text("y")}),
        "added": folder({"z": text(LONG)}), ".updated": text("stamp"), "fifo": fifo(),
    }, 0o711)  # fmt: skip
    local = lay_out(mine, tmp_path / "mine", contents)

    found = diff(base, local, contents)

    assert [(change.path, str(change.kind)) for change in found.changes] == [
        ("/etc", "metadata"),
        ("/etc/added", "added"),
        ("/etc/added/z", "added"),
        ("/etc/both", "content-and-metadata"),
        ("/etc/content", "content"),
        ("/etc/d/y", "added"),
        ("/etc/fifo", "added"),
        ("/etc/gone", "removed"),
        ("/etc/metadata", "metadata"),
        ("/etc/type", "type"),
    ]
    added = found.changes[2].mine
    assert added.digest == contents.measure([LONG.encode()]).hex()


def test_diff_of_an_untouched_machine_is_empty(tmp_path: Path, contents: BusyContents) -> None:
    base = folder({"a": contents.file(LONG), "d": folder({"l": link("x"), "f": fifo()})})
    first_etc(base, contents, tmp_path / "etc")

    assert diff(base, tmp_path / "etc", contents).changes == []


def test_an_etc_with_too_many_entries_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootd.etc.disk.snapshot.MAX_ENTRIES", 3)
    for name in "abc":
        (tmp_path / name).touch()
    assert len(scan_folder(tmp_path).root.entries) == 3
    (tmp_path / "d").touch()

    with pytest.raises(EtcTooLargeError, match="more than 3 entries"):
        scan_folder(tmp_path)
