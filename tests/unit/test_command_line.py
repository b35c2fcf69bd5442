"""One reading of the kernel's command line: bootd's and that of its initramfs script."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootd.boot.kernels.arguments import (
    may_be_endless,
    names_own,
    parse_argument_files,
    split_arguments,
)
from bootd.durable import Disk
from bootd.model.boot.command_line import first_value, words
from bootd.model.errors import InvalidKernelArgumentsError
from bootd.sysroot import Sysroot

_SCRIPT = Path(__file__).parents[2] / "packaging/initramfs/bootd-root"
_ID = "0123456789abcdef.0"

TABLE = [
    ("", []),
    ("   ", []),
    ("quiet", ["quiet"]),
    ("  a\t b  ", ["a", "b"]),
    ('a="b c" d', ['a="b c"', "d"]),
    ('"a=b c" d', ['"a=b c"', "d"]),
    ('a"b c"d"e f" g', ['a"b c"d"e f"', "g"]),
    ('a="" ""', ['a=""', '""']),
    (
        f'bootd={_ID} note="a bootd.integrity=off b"',
        [f"bootd={_ID}", 'note="a bootd.integrity=off b"'],
    ),
    ("bootd=* /etc/* ? [a-z]", ["bootd=*", "/etc/*", "?", "[a-z]"]),
    ("a=$HOME `id` %s \\n -n", ["a=$HOME", "`id`", "%s", "\\n", "-n"]),
    ('a="b c', ['a="b c']),
    ('a"b c d', ['a"b c d']),
    ("-- 3", ["--", "3"]),
]


def by_script(line: str) -> list[str]:
    done = subprocess.run(
        ["sh", _SCRIPT, "--words"], input=line + "\n", capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(("line", "found"), TABLE)
def test_one_table_for_both(line: str, found: list[str]) -> None:
    assert words(line) == found == by_script(line)


@pytest.mark.parametrize(("line", "found"), TABLE)
def test_what_is_written_splits_as_it_is_read(line: str, found: list[str]) -> None:
    if line.count('"') % 2:
        with pytest.raises(InvalidKernelArgumentsError):
            split_arguments(line)
    else:
        assert split_arguments(line) == found


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from('ab= "\t*$\\')))
def test_any_line_is_read_alike(line: str) -> None:
    assert words(line) == by_script(line)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (f"bootd={_ID} bootd=x", _ID),
        (f'"bootd={_ID}" bootd=x', _ID),
        ("bootd= bootd=x", ""),
        ('note="a bootd=x b"', None),
        ("xbootd=x bootd", None),
    ],
)
def test_the_first_word_with_a_key_counts(line: str, value: str | None, tmp_path: Path) -> None:
    assert first_value(line, "bootd") == value
    sysroot = Sysroot.at(tmp_path, Disk())
    sysroot.command_line.parent.mkdir(parents=True, exist_ok=True)
    sysroot.command_line.write_text(line + "\n")
    assert sysroot.booted() == (_ID if value == _ID else None)


def test_what_the_script_takes_of_a_line(tmp_path: Path) -> None:
    """The part of the script that reads the line, with another line than this machine's."""
    text = _SCRIPT.read_text()
    begin, end = text.index("set -euf"), text.index("case $id in\n")
    part = text[begin:end].replace("/proc/cmdline", '"$2"') + 'echo "$id $integrity"\n'
    (tmp_path / "part").write_text(part)
    for line, expected in (
        (f"bootd={_ID} bootd.integrity=verity=ab quiet", f"{_ID} verity=ab"),
        (f"bootd={_ID} quiet", f"{_ID} off"),
        (
            f'bootd={_ID} bootd.integrity=verity=ab x="a bootd.integrity=off bootd=b"',
            f"{_ID} verity=ab",
        ),
        (f"bootd={_ID} bootd.integrity=verity=ab bootd.integrity=off bootd=b", f"{_ID} verity=ab"),
        (f'"bootd={_ID}" "bootd.integrity=verity=ab"', f"{_ID} verity=ab"),
        (f"bootd= bootd={_ID}", " off"),
    ):
        (tmp_path / "line").write_text(line + "\n")
        done = subprocess.run(
            ["sh", tmp_path / "part", "/physical", tmp_path / "line"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.rstrip("\n") == expected, line


@pytest.mark.parametrize(
    "argument",
    [
        "init=/bin/sh",
        '"init=/bin/sh"',
        "rdinit=/x",
        "panic=0",
        "panic",
        "panic=x",
        "rd.shell",
        "rd.shell=1",
        "rd.emergency=halt",
        "systemd.unit=rescue.target",
        "single",
        "1",
        "rd.break",
        "systemd.mask=bootd-health.service",
        "systemd.crash_shell=1",
        "systemd.crash_reboot=no",
    ],
)
def test_what_may_not_end(argument: str) -> None:
    assert may_be_endless(argument)


@pytest.mark.parametrize(
    "argument",
    [
        "panic=30",
        "panic=-1",
        "quiet",
        "rd.shell=0",
        "rd.emergency=reboot",
        "console=ttyS0",
        "systemd.crash_reboot",
        "systemd.log_level=debug",
        "initcall_debug",
    ],
)
def test_what_ends(argument: str) -> None:
    assert not may_be_endless(argument)


def test_an_image_says_nothing_that_is_bootd_s() -> None:
    content = (
        b"kargs = ['bootd.shell', 'bootd.integrity=off', 'bootd=x', '\"bootd.shell=1\"', "
        b"'note=\"a bootd.shell b\"', 'quiet', 'bootdx']"
    )
    found = parse_argument_files([("a.toml", content)], "x86_64")
    assert list(found.values()) == [["quiet", "bootdx"]]
    assert not names_own("bootd.shell"), "an administrator may ask for it"
