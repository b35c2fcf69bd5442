"""Which label a policy gives to a path: the rules, the language of its expressions, its bounds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.effort import heavy

from bootd.model.tree import Directory, Metadata, RegularFile, SpecialFile, Symlink
from bootd.store.selinux.automaton import Automaton
from bootd.store.selinux.expression import ExpressionError, parse
from bootd.store.selinux.index import LabelIndex
from bootd.store.selinux.labelling import kind_of
from bootd.store.selinux.policy import Configuration, Policy, read_configuration, read_policy
from bootd.store.selinux.specifications import (
    EXPRESSION_LIMIT,
    LINES_LIMIT,
    SpecificationError,
    parse_specifications,
)

FOLDER = "selinux/test/contexts/files"
FILE = kind_of(RegularFile(Metadata(), 0, b""))
DIRECTORY = kind_of(Directory(Metadata()))
LINK = kind_of(Symlink(Metadata(), b"x"))
SOCKET = kind_of(SpecialFile(Metadata(), 0o140000))


def policy(specifications: str, **others: str) -> Policy:
    """A policy of these files; the others by the last part of their names."""
    files = {f"{FOLDER}/file_contexts": specifications}
    files |= {f"{FOLDER}/file_contexts.{name}": text for name, text in others.items()}
    encoded = {name: text.encode() for name, text in files.items()}
    return read_policy(encoded.get, "test")


def label(found: Policy, path: str, kind: int = FILE) -> str | None:
    context = found.label(path.encode(), kind)
    return None if context is None else context.decode()


def test_the_last_line_that_matches_counts() -> None:
    found = policy("/.* any\n/usr(/.*)? usr\n/usr/(.*/)?bin(/.*)? bin\n/usr/bin/[a-f]+ few\n")
    expected = {
        "/": "any", "/etc": "any", "/usr": "usr", "/usr/share/x": "usr", "/usrlocal": "any",
        "/usr/bin": "bin", "/usr/local/bin/x": "bin", "/usr/cabin": "usr", "/usr/bin/ace": "few",
        "/usr/bin/zoo": "bin", "/usr/bin/ace/x": "bin",
    }  # fmt: skip
    assert {path: label(found, path) for path in expected} == expected


def test_a_line_without_metacharacters_counts_before_all_others() -> None:
    found = policy("/usr/bin/a\\.out exact\n/usr/bin/.* bin\n", local="/usr(/.*)? local\n")
    assert label(found, "/usr/bin/a.out") == "exact"
    assert label(found, "/usr/bin/axout") == "local"


def test_a_later_file_counts_more() -> None:
    lines = {name: f"/home/[^/]+ {name}\n" for name in ("homedirs", "local")}
    assert label(policy("/home/.* home\n", **lines), "/home/me") == "local"
    del lines["local"]
    assert label(policy("/home/.* home\n", **lines), "/home/me") == "homedirs"


def test_a_line_may_be_for_one_kind_of_file() -> None:
    found = policy("/x any\n/x -d folder\n/x -l link\n/y.* -s socket\n/y.* -- file\n")
    assert [label(found, "/x", kind) for kind in (FILE, DIRECTORY, LINK)] == [
        "any", "folder", "link",
    ]  # fmt: skip
    assert [label(found, "/y1", kind) for kind in (FILE, SOCKET, LINK)] == ["file", "socket", None]


def test_a_line_may_take_the_label_away() -> None:
    found = policy("/.* any\n/run/.* <<none>>\n/run/lock lock\n/tmp <<none>>\n")
    paths = ("/run", "/run/x/y", "/run/lock", "/tmp", "/tmp/x")
    assert [label(found, path) for path in paths] == ["any", None, "lock", None, "any"]


def test_comments_and_blanks_are_no_lines() -> None:
    found = policy("\n# /a b\n   \n  /a \t b  \n\t#x\n/c\t--\tb\r\n")
    assert (label(found, "/a"), label(found, "/c"), label(found, "/d")) == ("b", "b", None)


def test_folders_that_stand_for_others() -> None:
    lines = "/usr/.* usr\n/usr/lib(/.*)? lib\n/run(/.*)? run\n/ root\n"
    first = "# comment\n/usr/local/lib /usr/lib\n/host /\n"
    then = "/lib /usr/lib\n/usr/lib64 /usr/lib\n/lib/own /run/own\n/var/run /run\nlonely\n"
    found = policy(lines, subs=first, subs_dist=then)
    expected = {
        "/usr/lib64/x": "lib", "/usr/lib64": "lib", "/usr/lib641": "usr", "/lib/x": "lib",
        "/lib/own/x": "run", "/var/run/x": "run", "/usr/local/lib/x": "lib",
        "/usr/local/libx": "usr", "/host/lib/own": "run", "/host": "root", "/host/run": "run",
    }  # fmt: skip
    assert {path: label(found, path) for path in expected} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELINUX=enforcing\nSELINUXTYPE=mls\n", ("enforcing", "mls")),
        ("# SELINUX=disabled\n SELINUX = x\nSELINUX=Permissive \n", ("permissive", "targeted")),
        ("selinuxtype=default # no\n", ("", "default # no")),
        ("SELINUX=disabled\nSELINUX=enforcing\n", ("disabled", "targeted")),
        ("", ("", "targeted")),
    ],
)
def test_the_configuration(text: str, expected: tuple[str, str]) -> None:
    assert read_configuration(lambda _: text.encode()) == Configuration(*expected)
    assert read_configuration(lambda _: None) is None


ALPHABET = "ab/.-]"
_atoms = st.sampled_from(
    ["a", "b", "/", ".", r"\.", "[ab]", "[^/]", "[a-b/]", "[]a]", "[^]]", "[a-]", "-", r"\w", r"\W",
     r"[\w.]", r"\x61", "[.-/]"]
)  # fmt: skip
_expressions = st.recursive(
    _atoms,
    lambda part: st.one_of(
        st.tuples(part, part).map("".join),
        st.tuples(part, part).map("({0[0]}|{0[1]})".format),
        st.tuples(part, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{1,}", "*?", "??"])).map(
            "(?:{0[0]}){0[1]}".format
        ),
    ),
    max_leaves=8,
)


_lines = st.tuples(st.sampled_from(["/", "/a", "/a/", ""]), _expressions)


@given(
    st.lists(_lines, min_size=1, max_size=5),
    st.lists(st.text(ALPHABET, max_size=8), min_size=1, max_size=8),
)
@heavy(60, full=5_000)
def test_expressions_mean_what_they_mean_to_another_engine(
    expressions: list[tuple[str, str]], texts: list[str]
) -> None:
    lines = [prefix + text for prefix, text in expressions]
    found = policy("".join(f"{line} {number}\n" for number, line in enumerate(lines)))
    literal = re.compile(r"(?:[^\\.^$?*+|\[({\])}]|\\[.^$?*+|\[({\])}\-_,])*")
    for text in texts:
        path = "/" + re.sub("/+", "/", text).strip("/")
        patterns = enumerate(re.compile(line, re.DOTALL) for line in lines)
        matching = [number for number, pattern in patterns if pattern.fullmatch(path)]
        exact = [number for number in matching if literal.fullmatch(lines[number])]
        expected = (exact or matching or [None])[-1]
        assert label(found, path) == (None if expected is None else str(expected))


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("/a++", "possessive"), ("/a**", "quantifier after"), ("/(a", "open parenthesis"),
        ("/a)", "closing parenthesis"), ("/[a", "open bracket"), (r"/(a)\1", "escape"),
        (r"/a\b", "escape"), ("/a\\", "backslash"), ("/(?>a)", "unknown kind"), ("/a^b", "middle"),
        ("/(?i)a", "unknown kind"), ("/[b-a]", "range"), ("/a{3,2}", "fewer"), ("/a{999}", "255"),
        ("/[[:lower:][:nix:]]", "class"), ("/" + "(" * 60 + "a" + ")" * 60, "deep"),
        ("/(?=a)(b|c)*", "repeats"), ("/(?=a)(b+)+", "repeats"), ("/(?=(a)", "cannot be used"),
    ],
)  # fmt: skip
def test_what_no_policy_should_say_is_told_with_its_line(expression: str, why: str) -> None:
    with pytest.raises(SpecificationError, match=f"file_contexts, line 2: .*{why}"):
        policy(f"/.* any\n{expression} x\n").check()


@pytest.mark.parametrize(
    ("expression", "matching", "others"),
    [
        ("/opt/(?!own).*", ["/opt/x", "/opt/x/own"], ["/opt/own", "/opt/ownx", "/opt"]),
        (r"/srv/.*(?<!\.bak)", ["/srv/x"], ["/srv/x.bak"]),
        ("(?=/v).*/[^/]{2}", ["/var/xx"], ["/usr/xx", "/var/x"]),
        ("/a(?=b)[a-c]+", ["/abc"], ["/acb"]),
    ],
)
def test_looking_around(expression: str, matching: list[str], others: list[str]) -> None:
    found = policy(f"/.* any\n{expression} -- x\n")
    assert {label(found, path) for path in matching} == {"x"}
    assert {label(found, path) for path in others} == {"any"}
    assert label(found, matching[0], DIRECTORY) == "any"


@pytest.mark.parametrize(
    "line",
    ["/x", "/x -q label", "/x q label", f"/{'x' * EXPRESSION_LIMIT} label",
     f"/x {'l' * 2000}"],
)  # fmt: skip
def test_a_line_that_is_none_is_told(line: str) -> None:
    with pytest.raises(SpecificationError, match="file_contexts, line 2"):
        policy(f"/ label\n{line}\n")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "there is no /etc/selinux/test/contexts/files/file_contexts"),
        ({"file_contexts": b"# nothing\n"}, "specifies nothing"),
        ({"file_contexts": b"#" * (5 << 20)}, "has more than [0-9]+ bytes"),
        ({"file_contexts": b"\n" * (LINES_LIMIT + 1)}, "has more than [0-9]+ lines"),
    ],
)
def test_a_policy_that_cannot_label_is_told(files: dict[str, bytes], why: str) -> None:
    with pytest.raises(SpecificationError, match=why):
        read_policy({f"{FOLDER}/{name}": data for name, data in files.items()}.get, "test")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 101, "é"])
def test_a_policy_is_never_looked_for_elsewhere(name: str) -> None:
    def read(_: str) -> bytes:
        raise AssertionError("nothing may be read")

    with pytest.raises(SpecificationError, match="names the policy"):
        read_policy(read, name)


HOSTILE = {
    "what makes other engines go back for ever": ["/(a+)+b", "/(a|a)*b", "/(.*)*x", "/(a*)*(a*)*b"],
    "many loops at once": [f"/.*{n}.*a.*b.*c.*{n}" for n in range(3000)],
    "a state for each subset": ["/.*a.{200}"],
    "repeats of repeats": ["/(((a{255}){255}){255}){255}"],
    "looking ahead over and over": [f"/(?!b).*.*.*.*{n}" for n in range(50)],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_expression_works_for_ever(kind: str) -> None:
    """Either the paths are labelled, or the policy is refused, within the work that is allowed."""
    lines = "".join(f"{one} x\n" for one in HOSTILE[kind]).encode()
    try:
        found = Policy(LabelIndex(parse_specifications("file_contexts", lines), 1_000_000))
        for number in range(2000):
            folder = "a" * 200 + str(number)
            found.label(f"/{folder}/{'ab' * 100}{number}".encode(), FILE)
    except SpecificationError as error:
        assert "more than 1000000 steps" in str(error)  # noqa: PT017 - both ends are right


def test_work_is_for_what_is_new() -> None:
    """Reading the same again is no work, so its bound does not depend on the number of files."""
    automaton = Automaton(100_000)
    start = automaton.begin(automaton.nowhere, [automaton.add(parse(b"(.*/)?x[0-9]*"), 0, FILE)])
    for _ in range(50_000):
        automaton.run(start, b"a/b/x12")


def test_an_expression_for_nothing_that_is_there_is_not_looked_at() -> None:
    found = policy("/usr(/.*)? usr\n/opt/(((broken x\n")
    assert label(found, "/usr/x") == "usr"
    with pytest.raises(SpecificationError, match="line 2"):
        found.label(b"/opt/x", FILE)
    with pytest.raises(ExpressionError):
        parse(b"(((broken")
