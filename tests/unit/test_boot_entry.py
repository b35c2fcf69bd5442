"""One boot entry: its name and its text, and everything that is not one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.boot_tree import KERNEL_DIGEST, boot_entry
from support.effort import heavy

from bootd.boot.entry import (
    BootEntry,
    compose_entry,
    is_own_name,
    parse_entry,
    parse_name,
    render_entry,
)
from bootd.boot.kernels.arguments import merge_arguments
from bootd.model.deployment import DeploymentId, DeploymentRecord, KernelFiles
from bootd.model.digest import Digest
from bootd.model.errors import InvalidBootEntryError, InvalidKernelArgumentsError

NAME = "bootd-0007-000000000000000a.0.conf"
TEXT = f"""\
title Test
version 0007
sort-key bootd
linux /bootd/{KERNEL_DIGEST}/vmlinuz
initrd /bootd/{KERNEL_DIGEST}/initrd
options bootd=000000000000000a.0 quiet name="a b"
"""


def test_an_entry_is_written_as_the_specification_has_it():
    assert boot_entry(7).file_name == NAME
    assert render_entry(boot_entry(7)).decode() == TEXT


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (boot_entry(7, tries=3), "bootd-0007-000000000000000a.0+3-0.conf"),
        (boot_entry(12_345, tries=0, done=3), "bootd-12345-000000000000000a.0+0-3.conf"),
        (boot_entry(1, deployment=2**64 - 1), "bootd-0001-ffffffffffffffff.0.conf"),
    ],
)
def test_names(entry, name):
    assert entry.file_name == name
    assert parse_name(name) == (
        entry.serial,
        entry.deployment,
        entry.tries_left,
        entry.tries_done,
    )


BAD_NAMES = [
    "",
    "bootd-7-000000000000000a.0.conf",
    "bootd-00007-000000000000000a.0.conf",
    "bootd-0007-000000000000000A.0.conf",
    "BOOTD-0007-000000000000000a.0.conf",
    "bootd-0007-000000000000000a.conf",
    "bootd-0007-000000000000000a.0+3.conf",
    "bootd-0007-000000000000000a.0+03-0.conf",
    "bootd-0007-000000000000000a.0+3-00.conf",
    "bootd-0007-000000000000000a.0+300-0.conf",
    "bootd-0007-000000000000000a.0+3-0.conf.bak",
    "bootd-0007-000000000000000a.0.conf\n",
    "bootd-\u0660\u0660\u0660\u0667-000000000000000a.0.conf",
    "bootd-1234567890-000000000000000a.0.conf",
    "x" * 10_000,
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(name):
    with pytest.raises(InvalidBootEntryError):
        parse_name(name)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        (NAME, True),
        ("bootd-nonsense.conf", True),
        ("BOOTD-0007-x.CONF", True),
        ("bootd.conf", False),
        ("debian-6.1.conf", False),
        ("bootd-0007-x.conf.rpmsave", False),
    ],
)
def test_ownership(name, own):
    assert is_own_name(name) is own


def _line(key: str, value: str) -> str:
    lines = [f"{key} {value}" if line.split()[0] == key else line for line in TEXT.splitlines()]
    return "\n".join(lines) + "\n"


BAD_TEXTS = {
    "nothing": ("", "no title"),
    "no linux": (TEXT.replace("linux ", "x-linux "), "no linux"),
    "no initrd": (TEXT.replace("initrd ", "x-initrd "), "no initrd"),
    "no options": (TEXT.replace("options ", "x-options "), "exactly once"),
    "another version": (_line("version", "8"), "version '8'"),
    "another sort key": (_line("sort-key", "a"), "sort-key 'a'"),
    "two titles": (TEXT + "title Again\n", "title 2 times"),
    "another deployment": (_line("options", "bootd=000000000000000b.0"), "exactly once"),
    "two deployments": (TEXT + "options bootd=000000000000000b.0\n", "exactly once"),
    "an open quote": (_line("options", 'bootd=000000000000000a.0 "a'), "not closed"),
    "a path upwards": (_line("linux", "/bootd/../vmlinuz"), "no plain path"),
    "a relative path": (_line("initrd", "bootd/initrd"), "no plain path"),
    "a control character": (_line("title", "a\x1b[2Jb"), "title a"),
    "a key without value": (TEXT + "devicetree\n", "devicetree"),
    "not text": (TEXT + "\x00\x01 \n", "has the line"),
    "too long": (TEXT + "# " + "x" * 70_000, "more than 65536 bytes"),
    "a long value": (TEXT + "x-note " + "x" * 5_000, "5000 characters"),
    "many lines": (TEXT + "x-note y\n" * 101, "101 lines"),
}


@pytest.mark.parametrize(("text", "problem"), BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
def test_bad_texts(text, problem):
    with pytest.raises(InvalidBootEntryError, match="bootd-0007") as caught:
        parse_entry(NAME, text.encode())
    assert problem in caught.value.message
    assert len(caught.value.message) < 500


def test_what_somebody_added_is_kept():
    text = TEXT.replace("\n", "\n# note\n", 1) + "devicetree /d\n\ninitrd /more\noptions a  b\n"
    entry = parse_entry(NAME, text.encode())
    assert entry.extra == (("#", "note"), ("devicetree", "/d"))
    assert entry.initrds[1:] == ("/more",)
    assert entry.arguments == ("quiet", 'name="a b"', "a", "b")
    later = replace(entry, serial=8, tries_left=3)
    assert parse_entry(later.file_name, render_entry(later)) == later


def _record(**changes) -> DeploymentRecord:
    kernel = KernelFiles(
        version="6.12",
        kernel_object="1" * 64,
        initramfs_object="2" * 64,
        kernel_size=1,
        initramfs_size=2,
        digest=KERNEL_DIGEST,
    )
    values = {
        "id": DeploymentId("000000000000000a.0"),
        "image": "oci:x",
        "digest": Digest.of(b""),
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "kernel": kernel,
        "kernel_arguments": ["quiet", 'name="a b"'],
        "erofs": "3" * 64,
        **changes,
    }
    return DeploymentRecord(**values)


def _compose(record, **values):
    return compose_entry(record, folder=KERNEL_DIGEST, installation=None, **values)


def test_an_entry_for_a_deployment():
    entry = _compose(_record(), serial=7, tries=None, title=" Test ")
    assert entry == boot_entry(7)


def test_an_entry_for_a_sealed_deployment_demands_the_seal():
    record = _record().model_copy(update={"sealed": True})
    entry = _compose(record, serial=7, tries=None, title="Test")
    assert entry.arguments[0] == f"bootd.integrity=verity={record.erofs}"
    # It is the entry's own, and takes no part in a merge.
    assert merge_arguments([], entry.arguments, []) == list(record.kernel_arguments)


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("", "bootd 000000000000000a.0"),
        ("Debian\nlinux /evil", "Debian linux /evil"),
        ("a\x1b[0m\u2028b", "a [0m b"),
        ("Größe 12", "Größe 12"),
        ("x" * 500, "x" * 200),
    ],
)
def test_titles_from_images_stay_on_their_line(title, shown):
    entry = _compose(_record(), serial=7, tries=3, title=title)
    assert entry.title == shown
    assert parse_entry(entry.file_name, render_entry(entry)).title == shown


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "a\nlinux /evil"},
        {"title": ""},
        {"linux": "/a b"},
        {"initrds": ()},
        {"arguments": ("bootd=000000000000000b.0",)},
        {"extra": (("title", "again"),)},
        {"extra": (("x", "y\nlinux /evil"),)},
        {"serial": 0x7FFFFFFF},
        {"tries_left": -1},
    ],
)
def test_an_entry_that_would_read_otherwise_is_not_written(changes):
    with pytest.raises(InvalidBootEntryError):
        render_entry(replace(boot_entry(7), **changes))


@pytest.mark.parametrize("arguments", [("a b",), ("a\nb",), ('"a',), ("ä",), ("x" * 2_100,), ("",)])
def test_arguments_a_kernel_would_not_take(arguments):
    with pytest.raises(InvalidKernelArgumentsError):
        render_entry(replace(boot_entry(7), arguments=arguments))


words = st.from_regex(r'(?:[!#-~]|"[ !#-~]{0,5}"){1,10}', fullmatch=True).filter(
    lambda word: not word.replace('"', "").startswith("bootd=") and word != "bootd"
)
paths = st.from_regex(r"(/[a-z0-9_-][a-z0-9._-]{0,5}){1,3}", fullmatch=True)
titles = st.text(min_size=1, max_size=50).map(lambda text: " ".join(text.split()))
entries = st.builds(
    BootEntry,
    serial=st.integers(1, 999_999_999),
    deployment=st.from_regex(r"[0-9a-f]{16}\.[0-9]{1,9}", fullmatch=True)
    .filter(str.isascii)
    .map(DeploymentId),
    tries_left=st.integers(0, 99),
    tries_done=st.integers(0, 99),
    title=titles.filter(lambda text: text.isprintable() and text != ""),
    linux=paths,
    initrds=st.lists(paths, min_size=1, max_size=3).map(tuple),
    arguments=st.lists(words, max_size=10).map(tuple),
    extra=st.lists(
        st.tuples(st.sampled_from(["devicetree", "x-note"]), st.sampled_from(["/a", "b c"]))
    ).map(tuple),
)


@heavy(30, full=5_000)
@given(entries, st.booleans())
def test_what_is_written_is_read_again(entry, counted):
    if not counted:
        entry = replace(entry, tries_left=None, tries_done=0)
    assert parse_entry(entry.file_name, render_entry(entry)) == entry
    assert len(entry.file_name) < 60


@heavy(30, full=5_000)
@given(st.text(max_size=60), st.binary(max_size=300))
def test_any_other_bytes_are_refused_in_words(name, data):
    with pytest.raises(InvalidBootEntryError):
        parse_entry(name, data)
    with pytest.raises(InvalidBootEntryError):
        parse_entry(NAME, data)
