"""Trees as lines of text, and lines that are none."""

from __future__ import annotations

import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.dumped_tree import dump_tree, parse_tree
from support.effort import heavy
from support.trees import deep_tree, dump_of, same_links, sample_tree, trees, verity_of

from bootd.model.errors import DamagedRecordError, InvalidTreeError
from bootd.model.tree import Directory, Metadata, RegularFile, SpecialFile, Symlink
from bootd.store.images.dumpfile import (
    LINE_LIMIT,
    DumpEntry,
    format_entry,
    parse_line,
    parse_lines,
)

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
ROOT = b"/ 0 40755 1 0 0 0 0.0 - - -\n"
FILE = b"/f 5 100644 1 0 0 0 0.0 - hello -\n"
DIGITS = b"ab" * 32
OBJECT = b"ab/" + DIGITS[2:]


@given(root=trees())
@heavy(12, full=2_000)
def test_what_is_dumped_is_parsed_back(root: Directory) -> None:
    lines = list(dump_tree(root))
    back = parse_tree(lines)
    assert dump_of(back) == b"".join(lines)
    assert same_links(back, root)
    assert parse_tree(line.removesuffix(b"\n") for line in lines).entries.keys() == (
        root.entries.keys()
    )


def test_deep_folders() -> None:
    assert parse_tree(dump_tree(deep_tree(2040))).entries


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (DumpEntry(b"/", Directory(Metadata())), ROOT),
        (DumpEntry(b"/f", RegularFile(Metadata(0o644), 5, b"hello")), FILE),
        (
            DumpEntry(b"/a b\\\n\xff=", RegularFile(Metadata(0o4711, 1, 2, -3, 4), 0, b"")),
            b"/a\\x20b\\\\\\n\\xff= 0 104711 1 1 2 0 -3.4 - - -\n",
        ),
        (
            DumpEntry(
                b"/f", RegularFile(Metadata(), 1 << 40, verity=bytes.fromhex(DIGITS.decode()))
            ),
            b"/f 1099511627776 100755 1 0 0 0 0.0 %b - %b\n" % (OBJECT, DIGITS),
        ),
        (
            DumpEntry(b"/-", Symlink(Metadata(0o777), b"-")),
            b"/- 1 120777 1 0 0 0 0.0 \\x2d - -\n",
        ),
        (
            DumpEntry(b"/n", SpecialFile(Metadata(0o666), stat.S_IFCHR, 259)),
            b"/n 0 20666 1 0 0 259 0.0 - - -\n",
        ),
        (
            DumpEntry(b"/x", Directory(Metadata(xattrs={b"user.=": b"a=\t\0", b"a": b""}))),
            b"/x 0 40755 1 0 0 0 0.0 - - - a= user.\\x3d=a\\x3d\\t\\x00\n",
        ),
    ],
)
def test_lines(entry: DumpEntry, line: bytes) -> None:
    assert format_entry(entry) == line
    again = parse_line(line)
    assert (again.path, again.target, format_entry(again)) == (entry.path, None, line)


@given(root=trees())
@heavy(12, full=2_000)
def test_many_lines_are_parsed_as_each_by_itself(root: Directory) -> None:
    lines = list(dump_tree(root))
    assert repr(parse_lines(b"".join(lines))) == repr([parse_line(line) for line in lines])
    last = [lines[-1].removesuffix(b"\n")]
    assert repr(parse_lines(b"".join(lines[:-1] + last))) == repr(list(map(parse_line, lines)))


@pytest.mark.parametrize(
    "line",
    [
        b"/f 00 100644 1 0 0 0 0.0 %b - %b" % (OBJECT, DIGITS),
        b"/f 0 100644 1 0 0 0 0.0 %b - %b" % (OBJECT, DIGITS),
        b"/f 0 100644 1 0 0 0 0.0 abc - -",
        b"/f 0 100644 4294967295 1234567890 0 0 -1.5 - - -",
        b"/f 7 40755 1 0 0 0 0.0 %b - %b" % (OBJECT, DIGITS),
        b"/l 7 120755 1 0 0 0 0.0 %b - %b" % (OBJECT, DIGITS),
        b"/... 7 120755 1 0 0 0 0.0 target - -",
        b"/s 0 140755 1 0 0 0 0.0 - - -",
    ],
)
def test_unusual_lines_are_parsed_alike(line: bytes) -> None:
    assert repr(parse_lines(line + b"\n" + FILE)) == repr([parse_line(line), parse_line(FILE)])


def test_a_further_name_needs_no_node() -> None:
    line = format_entry(DumpEntry(b"/b", None, b"/a - b"))
    assert line == b"/b 0 @100000 1 0 0 0 0.0 /a\\x20-\\x20b - -\n"
    assert parse_line(line) == DumpEntry(b"/b", None, b"/a - b")


def test_a_further_name_shows_its_node() -> None:
    node = RegularFile(Metadata(0o600), 1, b"x")
    line = format_entry(DumpEntry(b"/b", node, b"/a", links=2))
    assert line == b"/b 1 @100600 2 0 0 0 0.0 /a x -\n"


def test_a_name_may_stand_before_the_one_it_refers_to() -> None:
    lines = [ROOT, b"/a 0 @100000 1 0 0 0 0.0 /f - -", FILE]
    root = parse_tree(lines)
    assert root.entries[b"a"] is root.entries[b"f"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"/",
        b"/f 5 100644 1 0 0 0 0.0 - hello",
        b"f 5 100644 1 0 0 0 0.0 - hello -",
        b"/f/ 5 100644 1 0 0 0 0.0 - hello -",
        b"//f 5 100644 1 0 0 0 0.0 - hello -",
        b"/../f 5 100644 1 0 0 0 0.0 - hello -",
        b"/. 5 100644 1 0 0 0 0.0 - hello -",
        b"/\\x00 5 100644 1 0 0 0 0.0 - hello -",
        b"/%b 5 100644 1 0 0 0 0.0 - hello -" % (b"n" * 256),
        b"/f%b 5 100644 1 0 0 0 0.0 - hello -" % (b"/n" * 2048),
        b"/f\\q 5 100644 1 0 0 0 0.0 - hello -",
        b"/f\\ 5 100644 1 0 0 0 0.0 - hello -",
        b"/f\\x1 5 100644 1 0 0 0 0.0 - hello -",
        b"/\xff 5 100644 1 0 0 0 0.0 - hello -",
        b"/f\t5 100644 1 0 0 0 0.0 - hello -",
        b"/f 4 100644 1 0 0 0 0.0 - hello -",
        b"/f 65 100644 1 0 0 0 0.0 - %b -" % (b"c" * 65),
        b"/f 5 100644 1 0 0 0 0.0 - - -",
        b"/f -5 100644 1 0 0 0 0.0 - hello -",
        b"/f 5 100648 1 0 0 0 0.0 - hello -",
        b"/f 5 100644 1 4294967296 0 0 0.0 - hello -",
        b"/f 5 100644 1 0 x 0 0.0 - hello -",
        b"/f 5 100644 1 0 0 0 0 - hello -",
        b"/f 5 100644 1 0 0 0 0.1000000000 - hello -",
        b"/f 5 100644 1 0 0 0 9223372036854775808.0 - hello -",
        b"/f 5 170644 1 0 0 0 0.0 - hello -",
        b"/f 5 0 1 0 0 0 0.0 - hello -",
        b"/f 5 100644 1 0 0 0 0.0 - hello - name",
        b"/f 5 100644 1 0 0 0 0.0 - hello - =value",
        b"/f 5 100644 1 0 0 0 0.0 - hello - a=1 a=2",
        b"/f 5 100644 1 0 0 0 0.0 - hello -  a=1",
        b"/f 99 100644 1 0 0 0 0.0 %b - %b" % (OBJECT, DIGITS[:-1]),
        b"/f 99 100644 1 0 0 0 0.0 cd/ef - %b" % DIGITS,
        b"/l 0 120777 1 0 0 0 0.0 - - -",
        b"/l 0 120777 1 0 0 0 0.0 a\\x00 - -",
        b"/n 0 20666 1 0 0 4294967296 0.0 - - -",
        b"/h 0 @100644 1 0 0 0 0.0 - - -",
        b"/f 5 100644 1 0 0 0 0.0 - hello - a=%b" % (b"v" * LINE_LIMIT),
    ],
)
def test_a_malformed_line_is_refused(line: bytes) -> None:
    with pytest.raises(DamagedRecordError) as caught:
        parse_line(line)
    assert len(caught.value.message) < 1000
    with pytest.raises(DamagedRecordError):
        parse_lines(FILE + line + b"\n" + FILE)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="nothing"),
        pytest.param([FILE], id="no root"),
        pytest.param([FILE, ROOT], id="a late root"),
        pytest.param([ROOT, ROOT], id="two roots"),
        pytest.param([b"/ 0 120777 1 0 0 0 0.0 a - -"], id="a link as root"),
        pytest.param([ROOT, FILE, FILE], id="a path twice"),
        pytest.param([ROOT, FILE, FILE.replace(b"/f", b"/f/g")], id="a file as folder"),
        pytest.param([ROOT, FILE.replace(b"/f", b"/d/g")], id="no folder"),
        pytest.param([ROOT, b"/h 0 @100644 1 0 0 0 0.0 /f - -"], id="no target"),
        pytest.param([ROOT, b"/h 0 @100644 1 0 0 0 0.0 / - -"], id="a folder as target"),
        pytest.param([ROOT, b"/h 0 @100644 1 0 0 0 0.0 /h - -"], id="itself as target"),
        pytest.param([ROOT, FILE, b"/f 0 @100644 1 0 0 0 0.0 /f - -"], id="a name twice"),
        pytest.param([b"/ 0 @40755 1 0 0 0 0.0 /f - -", FILE], id="the root as further name"),
    ],
)
def test_lines_that_make_no_tree_are_refused(lines: list[bytes]) -> None:
    with pytest.raises(DamagedRecordError):
        parse_tree(lines)


@given(line=st.binary(max_size=200))
@QUICK
def test_any_bytes_are_parsed_or_refused(line: bytes) -> None:
    with pytest.raises(DamagedRecordError):
        parse_tree([ROOT, b"/f " + line])


def test_a_folder_with_two_names_is_refused() -> None:
    folder = Directory(Metadata())
    with pytest.raises(InvalidTreeError):
        dump_of(Directory(Metadata(), {b"a": folder, b"b": folder}))


def test_links_count_their_names() -> None:
    lines = list(dump_tree(sample_tree()))
    (first,) = [line for line in lines if line.startswith(b"/usr/first ")]
    (second,) = [line for line in lines if line.startswith(b"/usr/second ")]
    assert parse_line(first).links == 2
    assert parse_line(second).target == b"/usr/first"
    assert verity_of(1).hex().encode() in first
