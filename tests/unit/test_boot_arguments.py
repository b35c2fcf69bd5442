"""Kernel arguments: words, an image's files, and the three-way merge."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.boot_tree import InlineContents, large_file, small_file, tree_of

from bootd.boot.kernels.arguments import (
    MAX_COMMAND_LINE,
    image_arguments,
    join_arguments,
    key_of,
    merge_arguments,
    parse_argument_files,
    split_arguments,
)
from bootd.model.errors import InvalidKernelArgumentsError
from bootd.model.tree import Directory, Metadata, Symlink

FOLDER = "/usr/lib/bootc/kargs.d"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  quiet\t ro ", ["quiet", "ro"]),
        ('a="b c" d', ['a="b c"', "d"]),
        ('"a=b c" d', ['"a=b c"', "d"]),
        ('a"b c"d"e f"', ['a"b c"d"e f"']),
        ('a=""', ['a=""']),
        ("init=/sbin/init -- 3", ["init=/sbin/init", "--", "3"]),
        (r'a="\" b', [r'a="\"', "b"]),
    ],
)
def test_splitting(text, words):
    assert split_arguments(text) == words
    assert split_arguments(join_arguments(words)) == words


@pytest.mark.parametrize("text", ['a="b c', "a\nb", "a\0b", "gr\u00fcn", "a\x7f"])
def test_what_is_no_command_line(text):
    with pytest.raises(InvalidKernelArgumentsError):
        split_arguments(text)


def test_a_line_the_kernel_would_cut_off():
    assert len(join_arguments(["x" * MAX_COMMAND_LINE])) == MAX_COMMAND_LINE
    with pytest.raises(InvalidKernelArgumentsError, match=f"{MAX_COMMAND_LINE + 1} bytes"):
        join_arguments(["x" * (MAX_COMMAND_LINE - 1), "y"])


@pytest.mark.parametrize(
    ("word", "key"),
    [("quiet", "quiet"), ("a=b=c", "a"), ('"a=b c"', "a"), ('a="b=c d"', "a"), ("=b", "")],
)
def test_keys(word, key):
    assert key_of(word) == key


FILES = {
    "by name": (
        [("20-b.toml", 'kargs = ["b"]'), ("10-a.toml", 'kargs = ["a"]')],
        ["a", "b"],
    ),
    "other names": ([("README", "not toml"), ("a.toml.bak", "=")], []),
    "several words in a string": (
        [("a.toml", 'kargs = ["a b", "c=\\"d e\\""]')],
        ["a", "b", 'c="d e"'],
    ),
    "this architecture": (
        [("a.toml", 'kargs = ["a"]\nmatch-architectures = ["s390x", "x86_64"]')],
        ["a"],
    ),
    "another architecture": ([("a.toml", 'kargs = ["a"]\nmatch-architectures = ["s390x"]')], []),
    "all architectures": ([("a.toml", 'kargs = ["a"]\nmatch-architectures = []')], ["a"]),
    "duplicates stay": (
        [("a.toml", 'kargs = ["console=tty0", "console=ttyS0", "console=tty0"]')],
        ["console=tty0", "console=ttyS0", "console=tty0"],
    ),
    "the machine's own": (
        [("a.toml", 'kargs = ["bootd=x", "root=/dev/x", "rootwait"]')],
        ["rootwait"],
    ),
    "the machine's own within quotes": (
        [("a.toml", """kargs = ['note="a bootd.integrity=off b"', 'note="a bootdx=1"']""")],
        ['note="a bootdx=1"'],
    ),
    "none": ([("a.toml", "kargs = []")], []),
}


@pytest.mark.parametrize(("files", "expected"), FILES.values(), ids=FILES.keys())
def test_files(files, expected):
    found = parse_argument_files([(name, text.encode()) for name, text in files], "x86_64")
    assert [word for words in found.values() for word in words] == expected


@pytest.mark.parametrize(
    ("machine", "name"), [("ppc64le", "powerpc64"), ("aarch64", "aarch64"), ("armv7l", "arm")]
)
def test_architectures_have_the_names_bootc_uses(machine, name):
    content = f'kargs = ["a"]\nmatch-architectures = ["{name}"]'.encode()
    assert parse_argument_files([("a.toml", content)], machine) == {f"{FOLDER}/a.toml": ["a"]}


BAD_FILES = {
    "unknown key": (b'kargs = []\nkarg = ["a"]', "unknown key 'karg'"),
    "no kargs": (b'match-architectures = ["x86_64"]', "kargs is missing"),
    "a string": (b'kargs = "a"', "kargs is not a list of strings"),
    "a number": (b"kargs = [1]", "kargs is not a list of strings"),
    "architectures": (b'kargs = []\nmatch-architectures = "x"', "match-architectures is not"),
    "not TOML": (b"kargs = [", "is not TOML"),
    "not UTF-8": (b'kargs = ["\xff"]', "is not TOML"),
    "a line break": (b'kargs = ["a\\nlinux /evil"]', "kargs: kernel arguments"),
    "an open quote": (b"kargs = ['a=\"b']", "not closed"),
    "too large": (b"# " + b"x" * 70_000, "70002 bytes"),
    "too many": (b'kargs = ["' + b"a " * 1_001 + b'"]', "1001 arguments"),
    "too deep": (b"kargs = " + b"[" * 20_000, "is not TOML"),
    "too many digits": (b"kargs = " + b"9" * 20_000, "is not TOML"),
}


@pytest.mark.parametrize(("content", "problem"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_files(content, problem):
    with pytest.raises(InvalidKernelArgumentsError) as caught:
        parse_argument_files([("10-x.toml", content)], "x86_64")
    assert problem in caught.value.message
    assert "/usr/lib/bootc/kargs.d" in caught.value.message


def test_an_image_s_files():
    tree = tree_of(
        {
            f"{FOLDER}/20-b.toml": small_file(b'kargs = ["b"]'),
            f"{FOLDER}/10-a.toml": small_file(b'kargs = ["a"]'),
            f"{FOLDER}/README": large_file("a", 1 << 40),
            f"{FOLDER}/old": Directory(Metadata()),
        }
    )
    found = image_arguments(tree, InlineContents(), "x86_64")
    assert list(found.items()) == [(f"{FOLDER}/10-a.toml", ["a"]), (f"{FOLDER}/20-b.toml", ["b"])]
    assert image_arguments(tree_of({}), InlineContents()) == {}


@pytest.mark.parametrize(
    "node",
    [Symlink(Metadata(), b"/etc/shadow"), Directory(Metadata()), large_file("a", 1 << 40)],
)
def test_what_is_no_argument_file_is_not_read(node):
    with pytest.raises(InvalidKernelArgumentsError, match=r"10-a\.toml"):
        image_arguments(tree_of({f"{FOLDER}/10-a.toml": node}), InlineContents())


MERGES = [
    # base, mine, theirs, result
    ("a b", "a b", "b c", "b c"),
    ("a b", "a b x", "b c", "b c x"),
    ("a b", "b", "a b c", "b c"),
    ("a b", "b a", "a b c", "b c a"),
    ("log=3", "log=7", "log=4", "log=4 log=7"),
    ("a", "a x", "a x", "a x"),
    ("a", "x a", "c a", "c x a"),
    ("c=1 c=2", "c=1 c=2 c=3", "c=1", "c=1 c=3"),
    ("c=1", "c=1 c=1", "", "c=1"),
    ("c=1 c=1", "c=1", "c=1 x", "c=1 x"),
    ("", "root=UUID=1", "quiet", "quiet root=UUID=1"),
    ("a", "", "a b", "b"),
    ("bootd=1 a", "bootd=1 a x", "bootd=9 a b", "a b x"),
    ("a", "a x", "bootd=9 a", "a x"),
    ("a", "a", "bootd=9", ""),
]


@pytest.mark.parametrize(("base", "mine", "theirs", "result"), MERGES)
def test_merges(base, mine, theirs, result):
    assert merge_arguments(base.split(), mine.split(), theirs.split()) == result.split()


lists = st.lists(st.sampled_from(["a", "b", "c", "console=tty0", "console=ttyS0"]), max_size=7)


@settings(max_examples=300, deadline=None)
@given(lists, lists, lists)
def test_merge_laws(base, mine, theirs):
    assert merge_arguments(base, base, theirs) == theirs
    assert merge_arguments(base, mine, base) == mine
    assert merge_arguments(base, theirs, theirs) == theirs
    merged = merge_arguments(base, mine, theirs)
    counts = [Counter(words) for words in (base, mine, theirs, merged)]
    for word in {*base, *mine, *theirs}:
        in_base, in_mine, in_theirs, in_merged = (count[word] for count in counts)
        low, high = sorted((in_mine, in_theirs))
        if in_base < low:
            assert in_merged == high
        elif in_base > high:
            assert in_merged == low
        else:
            assert in_merged == low + high - in_base
    assert set(merged) <= {*mine, *theirs}


@settings(max_examples=100, deadline=None)
@given(lists, st.lists(st.sampled_from(["x=1", "x=2"]), min_size=1, max_size=3), lists)
def test_what_the_machine_added_at_the_end_has_the_last_word(base, added, theirs):
    merged = merge_arguments(base, base + added, theirs)
    assert merged[-len(added) :] == added
