"""The rules of docs/etc.md, "Whole files", one row each, merged for real in a temporary folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest
from support.etc_merge import merge
from support.etc_trees import (
    MemoryContents,
    fifo,
    flatten,
    folder,
    lay_out,
    link,
    metadata,
    read_back,
    socket,
)

from bootd.etc.merge import preview_merge
from bootd.etc.rules.compare import same_content, same_metadata
from bootd.model.tree import Node, RegularFile

MODE = int | None


class Case(NamedTuple):
    """Entries of /etc on each side, what the merge must hold, and what it must say."""

    name: str
    base: dict[str, Node]
    mine: dict[str, Node]
    theirs: dict[str, Node]
    merged: dict[str, Node]
    conflicts: Mapping[str, str] = MappingProxyType({})
    notes: Mapping[str, str] = MappingProxyType({})


CONTENTS = MemoryContents()
LONG = "a line that is longer than what an image keeps inline\n" * 3


def text(content: str, mode: int = 0o644, **more: object) -> RegularFile:
    return CONTENTS.file(content, mode, **more)


def one(path: str = "f") -> Callable[..., dict[str, Node]]:
    def tree(node: Node | None = None) -> dict[str, Node]:
        return {} if node is None else {path: node}

    return tree


F = one()

CASES = [
    Case("untouched", F(text("a")), F(text("a")), F(text("a")), F(text("a"))),
    Case("image changes", F(text("a")), F(text("a")), F(text("b")), F(text("b"))),
    Case("image changes a long file", F(text(LONG)), F(text(LONG)), F(text("b")), F(text("b"))),
    Case("image adds", F(), F(), F(text("b")), F(text("b"))),
    Case("image removes", F(text("a")), F(text("a")), F(), F()),
    Case("local edit", F(text("a")), F(text("b")), F(text("a")), F(text("b"))),
    Case(
        "local edit, equal size",
        F(text(LONG)), F(text(LONG.upper())), F(text(LONG)), F(text(LONG.upper())),
    ),
    Case("local file", F(), F(text("b")), F(), F(text("b"))),
    Case("deleted here", F(text("a")), F(), F(text("a")), F()),
    Case("deleted on both sides", F(text("a")), F(), F(), F()),
    Case("same edit on both sides", F(text("a")), F(text("b")), F(text("b")), F(text("b"))),
    Case("same file added on both sides", F(), F(text("b")), F(text("b")), F(text("b"))),
    Case(
        "both edit",
        F(text("a")), F(text("b")), F(text("c")), F(text("b")),
        {"/etc/f": "content"},
    ),
    Case(
        "both add",
        F(), F(text("b")), F(text("c")), F(text("b")),
        {"/etc/f": "content"},
    ),
    Case(
        "deleted here, changed there",
        F(text("a")), F(), F(text("b")), F(),
        {"/etc/f": "deleted-here"},
    ),
    Case(
        "deleted here, mode changed there",
        F(text("a")), F(), F(text("a", 0o600)), F(),
        {"/etc/f": "deleted-here"},
    ),
    Case(
        "edited here, removed there",
        F(text("a")), F(text("b")), F(), F(text("b")),
        {"/etc/f": "deleted-there"},
    ),
    Case(
        "local chmod and new content from the image",
        F(text("a")), F(text("a", 0o600)), F(text("b")), F(text("b", 0o600)),
    ),
    Case(
        "local edit and new mode from the image",
        F(text("a")), F(text("b")), F(text("a", 0o600)), F(text("b", 0o600)),
    ),
    Case("local chmod", F(text("a")), F(text("a", 0o600)), F(text("a")), F(text("a", 0o600))),
    Case("same chmod", F(text("a")), F(text("a", 0o600)), F(text("a", 0o600)), F(text("a", 0o600))),
    Case(
        "different chmods",
        F(text("a")), F(text("a", 0o600)), F(text("b", 0o640)), F(text("b", 0o600)),
        {"/etc/f": "metadata"},
    ),
    Case(
        "local attribute, new content",
        F(text("a")), F(text("a", xattrs={b"user.x": b"1"})), F(text("b")),
        F(text("b", xattrs={b"user.x": b"1"})),
    ),
    Case(
        "attribute removed by the image, edited here",
        F(text("a", xattrs={b"user.x": b"1"})), F(text("b", xattrs={b"user.x": b"1"})),
        F(text("a")), F(text("b")),
    ),
    Case(
        "different attributes",
        F(text("a")), F(text("a", xattrs={b"user.x": b"1"})),
        F(text("a", xattrs={b"user.x": b"2"})), F(text("a", xattrs={b"user.x": b"1"})),
        {"/etc/f": "metadata"},
    ),
    Case(
        "local chmod of what the image removed",
        F(text("a")), F(text("a", 0o600)), F(), F(),
        notes={"/etc/f": "metadata-dropped"},
    ),
    Case(
        "local chmod of what the image made a link",
        F(text("a")), F(text("a", 0o600)), F(link("t")), F(link("t")),
        notes={"/etc/f": "metadata-dropped"},
    ),
    Case("link moved here", F(link("a")), F(link("b")), F(link("a")), F(link("b"))),
    Case("link moved there", F(link("a")), F(link("a")), F(link("b")), F(link("b"))),
    Case(
        "link moved on both sides",
        F(link("a")), F(link("b")), F(link("c")), F(link("b")),
        {"/etc/f": "content"},
    ),
    Case("file made a link here", F(text("a")), F(link("x")), F(text("a")), F(link("x"))),
    Case("file made a link there", F(text("a")), F(text("a")), F(link("x")), F(link("x"))),
    Case(
        "file made a link here, changed there",
        F(text("a")), F(link("x")), F(text("b")), F(link("x")),
        {"/etc/f": "type"},
    ),
    Case(
        "folder made a link there, untouched here",
        F(folder({"x": text("a")})), F(folder({"x": text("a")})), F(link("elsewhere")),
        F(link("elsewhere")),
    ),
    Case(
        "folder made a link there, holds a file of mine",
        F(folder({"x": text("a")})), F(folder({"x": text("a"), "m": text("m")}, 0o700)),
        F(link("elsewhere")), F(folder({"x": text("a"), "m": text("m")}, 0o700)),
        {"/etc/f": "type"},
    ),
    Case(
        "folder made a file there, holds an edit of mine",
        F(folder({"x": text("a"), "y": text("y")})), F(folder({"x": text("b"), "y": text("y")})),
        F(text("file")), F(folder({"x": text("b"), "y": text("y")})),
        {"/etc/f": "type"},
    ),
    Case(
        "folder removed there, holds a file of mine",
        F(folder({"x": text("a")})), F(folder({"x": text("a"), "m": text("m")}, 0o700)),
        F(), F(folder({"x": text("a"), "m": text("m")}, 0o700)),
        {"/etc/f": "deleted-there"},
    ),
    Case(
        "folder removed there, holds an edit of mine",
        F(folder({"x": text("a"), "y": text("y")})), F(folder({"x": text("b"), "y": text("y")})),
        F(), F(folder({"x": text("b"), "y": text("y")})),
        {"/etc/f": "deleted-there"},
    ),
    Case(
        "folder removed there, holds an edit of mine and a fifo of the image",
        F(folder({"x": text("a"), "p": fifo()})), F(folder({"x": text("b"), "p": fifo()})),
        F(), F(folder({"x": text("b"), "p": fifo()})),
        {"/etc/f": "deleted-there"},
    ),
    Case(
        "folder removed there, one deleted in it here",
        F(folder({"x": text("a"), "y": text("y")})), F(folder({"y": text("y")})), F(), F(),
    ),
    Case(
        "folder made a link there, a file of mine far below it",
        F(folder({"d": folder({"x": text("a")}), "y": text("y")})),
        F(folder({"d": folder({"x": text("a"), "m": text("m")}), "y": text("y")})),
        F(link("elsewhere")),
        F(folder({"d": folder({"x": text("a"), "m": text("m")}), "y": text("y")})),
        {"/etc/f": "type"},
    ),
    Case(
        "folder there, a folder in it made a link there, holds a file of mine",
        F(folder({"d": folder({"x": text("a")}), "y": text("y")})),
        F(folder({"d": folder({"x": text("a"), "m": text("m")}), "y": text("y")})),
        F(folder({"d": link("elsewhere"), "y": text("z")})),
        F(folder({"d": folder({"x": text("a"), "m": text("m")}), "y": text("z")})),
        {"/etc/f/d": "type"},
    ),
    Case(
        "folder deleted here, new file in it there",
        F(folder({"x": text("a")})), F(), F(folder({"x": text("a"), "n": text("n")}, 0o750)),
        F(folder({"n": text("n")}, 0o750)),
        notes={"/etc/f": "folder-revived"},
    ),
    Case(
        "folder deleted here, file in it changed there",
        F(folder({"x": text("a")})), F(), F(folder({"x": text("b")})), F(),
        {"/etc/f/x": "deleted-here"},
    ),
    Case("folder deleted here", F(folder({"x": text("a")})), F(), F(folder({"x": text("a")})), F()),
    Case(
        "folder made a file here, untouched there",
        F(folder({"x": text("a")})), F(text("m")), F(folder({"x": text("a")})), F(text("m")),
    ),
    Case(
        "folder made a file here, new file in it there",
        F(folder({"x": text("a")})), F(text("m")), F(folder({"x": text("a"), "n": text("n")})),
        F(text("m")), {"/etc/f": "type"},
    ),
    Case(
        "file made a folder here",
        F(text("a")), F(folder({"m": folder({"x": text("y")})})), F(text("a")),
        F(folder({"m": folder({"x": text("y")})})),
    ),
    Case(
        "file made a folder here, changed there",
        F(text("a")), F(folder({"m": text("m")})), F(text("b")), F(folder({"m": text("m")})),
        {"/etc/f": "type"},
    ),
    Case(
        "file made a folder there, edited here",
        F(text("a")), F(text("b")), F(folder({"n": text("n")})), F(text("b")),
        {"/etc/f": "type"},
    ),
    Case(
        "file made a folder there, deleted here",
        F(text("a")), F(), F(folder({"n": text("n")})), F(),
        {"/etc/f": "deleted-here"},
    ),
    Case(
        "folder here, file there, none before",
        F(), F(folder({"m": text("m")})), F(text("b")), F(folder({"m": text("m")})),
        {"/etc/f": "type"},
    ),
    Case(
        "folders on both sides, none before",
        F(), F(folder({"m": text("m")})), F(folder({"n": text("n")})),
        F(folder({"m": text("m"), "n": text("n")})),
    ),
    Case(
        "local folder mode",
        F(folder({"x": text("a")})), F(folder({"x": text("a")}, 0o700)),
        F(folder({"x": text("b")})), F(folder({"x": text("b")}, 0o700)),
    ),
    Case(
        "folder mode changed there, file added here",
        F(folder()), F(folder({"m": text("m")})), F(folder({}, 0o700)),
        F(folder({"m": text("m")}, 0o700)),
    ),
    Case(
        "different folder modes",
        F(folder()), F(folder({}, 0o700)), F(folder({}, 0o750)), F(folder({}, 0o700)),
        {"/etc/f": "metadata"},
    ),
    Case("empty folder of mine", F(), F(folder({"e": folder()})), F(), F(folder({"e": folder()}))),
    Case(
        "local fifo",
        F(), F(fifo()), F(), F(),
        notes={"/etc/f": "special-skipped"},
    ),
    Case(
        "local socket where the image ships a file",
        F(text("a")), F(socket()), F(text("a")), F(),
        notes={"/etc/f": "special-skipped"},
    ),
    Case(
        "local socket where the image adds a file",
        F(), F(socket()), F(text("a")), F(text("a")),
        notes={"/etc/f": "special-skipped"},
    ),
    Case("fifo of the image, untouched", F(fifo()), F(fifo()), F(fifo()), F(fifo())),
    Case("fifo of the image, removed there", F(fifo()), F(fifo()), F(), F()),
    Case("fifo added by the image", F(), F(), F(fifo(0o600)), F(fifo(0o600))),
    Case("fifo of the image, chmod here", F(fifo()), F(fifo(0o600)), F(fifo()), F(fifo(0o600))),
    Case(
        "update stamp",
        {".updated": text("1")}, {".updated": text("2")}, {".updated": text("3")}, {},
    ),
    Case(
        "a deeper update stamp is a file like others",
        F(), F(folder({".updated": text("2")})), F(), F(folder({".updated": text("2")})),
    ),
    Case(
        "machine-id",
        {"machine-id": text("uninitialized\n")}, {"machine-id": text("0123\n", 0o444)},
        {"machine-id": text("uninitialized\n")}, {"machine-id": text("0123\n", 0o444)},
    ),
    Case("set-ID bits", F(), F(text("a", 0o6755)), F(), F(text("a", 0o6755))),
    Case("set-ID bits of the image", F(), F(), F(text("a", 0o4711)), F(text("a", 0o4711))),
    Case("names that are no text", {}, {os.fsdecode(b"\xff\x80"): text("a")}, {},
         {os.fsdecode(b"\xff\x80"): text("a")}),
    Case(
        "conflict under a name that is no text",
        {}, {os.fsdecode(b"\xff\\"): text("a")}, {os.fsdecode(b"\xff\\"): text("b")},
        {os.fsdecode(b"\xff\\"): text("a")}, {"/etc/\\xff\\x5c": "content"},
    ),
    Case("empty files", F(text("")), F(text("")), F(text("x")), F(text("x"))),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_rule(case: Case, tmp_path: Path) -> None:
    base, theirs = folder(case.base), folder(case.theirs)
    mine = lay_out(folder(case.mine), tmp_path / "mine", CONTENTS)
    before = read_back(mine)

    preview = preview_merge(base, mine, theirs, CONTENTS).report
    report = merge(base, mine, theirs, CONTENTS, tmp_path / "target")

    expected = flatten(folder(case.merged), CONTENTS, times=False)
    assert read_back(tmp_path / "target", times=False) == expected
    assert {conflict.path: conflict.kind for conflict in report.conflicts} == case.conflicts
    assert {note.path: note.kind for note in report.notes} == case.notes
    assert report.counts.conflicts == len(case.conflicts)
    assert preview == report
    assert read_back(mine) == before


@pytest.mark.parametrize(
    ("mine_mode", "theirs_mode", "expected", "conflicts"),
    [
        (0o755, 0o755, 0o755, []),
        (0o700, 0o755, 0o700, []),
        (0o755, 0o711, 0o711, []),
        (0o700, 0o711, 0o700, ["/etc"]),
    ],
)
def test_the_folder_itself_is_merged_like_any_other(
    mine_mode: int, theirs_mode: int, expected: int, conflicts: list[str], tmp_path: Path
) -> None:
    mine = lay_out(folder({}, mine_mode), tmp_path / "mine", CONTENTS)

    report = merge(folder(), mine, folder({}, theirs_mode), CONTENTS, tmp_path / "target")

    assert (tmp_path / "target").stat().st_mode & 0o7777 == expected
    assert [conflict.path for conflict in report.conflicts] == conflicts


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "expected"),
    [
        pytest.param(("a", 1), ("a", 1), ("a", 3), 3, id="untouched-follows-the-image"),
        pytest.param(("a", 1), ("a", 2), ("a", 1), 2, id="touched-here"),
        pytest.param(("a", 1), ("a", 2), ("a", 3), 2, id="touched-here-rebuilt-there"),
        pytest.param(("a", 1), ("b", 2), ("a", 3), 2, id="edited-here"),
        pytest.param(("a", 1), ("a", 2), ("b", 3), 3, id="changed-there"),
        pytest.param(("a", 1), ("b", 2), ("b", 3), 3, id="same-edit"),
        pytest.param(("a", 1), ("b", 2), ("c", 3), 2, id="conflict"),
    ],
)
def test_time_follows_the_side_the_content_is_from(
    base: tuple[str, int],
    mine: tuple[str, int],
    theirs: tuple[str, int],
    expected: int,
    tmp_path: Path,
) -> None:
    trees = [folder({"f": text(content, time=time)}) for content, time in (base, mine, theirs)]
    place = lay_out(trees[1], tmp_path / "mine", CONTENTS)

    merge(trees[0], place, trees[2], CONTENTS, tmp_path / "target")

    values = metadata(time=expected)
    wanted = values.mtime_seconds * 1_000_000_000 + values.mtime_nanoseconds
    assert (tmp_path / "target/f").stat().st_mtime_ns == wanted


def test_a_content_that_is_not_known_equals_no_other() -> None:
    one, other = RegularFile(metadata(), 100), RegularFile(metadata(), 100)
    assert same_content(one, one)
    assert not same_content(one, other)
    assert not same_content(one, text("x" * 100))


def test_a_link_has_no_mode_to_compare() -> None:
    other = link("a")
    other.metadata.permissions = 0o755
    assert same_metadata(link("a"), other)


def test_labels_are_the_machines_own_and_no_change() -> None:
    labelled = text("a", xattrs={b"security.selinux": b"etc_t", b"security.evm": b"x"})
    assert same_metadata(text("a"), labelled)
