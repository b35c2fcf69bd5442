"""What the durable-write gateway asks of the kernel, seen from outside: strace watches a process.

The crash tests cut between the gateway's steps and trust each step; this is why they may.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

VFAT = "inject=fstatfs:poke_exit=@arg2=444d000000000000"
"""Has the kernel tell of any file system that it is one of MSDOS_SUPER_MAGIC (linux/magic.h)."""
WATCHED = "fsync,fdatasync,syncfs,rename,renameat,renameat2,unlink,unlinkat,openat,write,close"
ASKED = "fstatfs"


def calls(tmp_path: Path, script: str, *more: str) -> list[str]:
    """Run a few lines against a real disk; return each call on files below `tmp_path`, in order.

    `more` are further expressions of strace(1).
    """
    if shutil.which("strace") is None:
        pytest.fail("strace is not installed: apt-get install strace")
    trace = tmp_path / "trace"
    code = (
        f"from pathlib import Path\nfrom bootd.durable import Disk\ntop = Path({str(tmp_path)!r})\n"
    )
    expressions = [word for one in (f"trace={WATCHED},{ASKED}", *more) for word in ("-e", one)]
    command = ["strace", "-f", "-y", "-s", "9", *expressions, "-o", str(trace)]
    subprocess.run([*command, sys.executable, "-c", code + script], check=True, timeout=60)
    found = []
    for line in trace.read_text().splitlines():
        match = re.search(r"(\w+)\((.*)\)\s+= \d", line)
        if match and match[1] != ASKED and str(tmp_path) in match[2] and "/trace" not in match[2]:
            names = re.findall(re.escape(str(tmp_path)) + r"/?([^\">,]*)", match[2])
            found.append(f"{match[1]} {re.sub(r'[.]new-[0-9]+-', 'new:', ' '.join(names))}".strip())
    return found


def changes(tmp_path: Path, script: str, *more: str) -> list[str]:
    """Like `calls`, without what only opens and closes."""
    found = calls(tmp_path, script, *more)
    return [one for one in found if not one.startswith(("openat", "close"))]


def test_a_record_is_on_disk_before_its_name_and_its_name_before_the_return(tmp_path: Path) -> None:
    assert changes(tmp_path, "Disk().replace_file(top / 'record', b'content')") == [
        "write new:record",
        "fsync new:record",
        "rename new:record record",
        "fsync",
    ]


def test_a_copy_is_as_durable_as_a_record(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"kernel")
    assert changes(tmp_path, "Disk().copy_file(top / 'source', top / 'copy')") == [
        "write new:copy",
        "fsync new:copy",
        "rename new:copy copy",
        "fsync",
    ]


def test_vfat_learns_which_clusters_are_taken_before_whose_they_are(tmp_path: Path) -> None:
    boot = tmp_path / "boot"
    boot.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", boot], check=True)
    try:
        (boot / "loader/entries").mkdir(parents=True)
        found = changes(
            tmp_path, "Disk().replace_file(top / 'boot/loader/entries/a.conf', b'content')", VFAT
        )
    finally:
        subprocess.run(["umount", boot], check=True)
    assert found == [
        "write boot/loader/entries/new:a.conf",
        "fsync boot",
        "fsync boot/loader/entries/new:a.conf",
        "rename boot/loader/entries/new:a.conf boot/loader/entries/a.conf",
        "fsync boot/loader/entries",
    ]


def test_what_must_stay_whole_on_vfat_is_freed_after_its_successor_is_found(tmp_path: Path) -> None:
    (tmp_path / "loader").write_bytes(b"old")
    found = calls(tmp_path, "Disk().replace_kept(top / 'loader', b'new')")
    assert found == [
        "openat loader",
        "openat new:loader",
        "write new:loader",
        "fsync new:loader",
        "close new:loader",
        "rename new:loader loader",
        "openat",
        "syncfs",
        "close",
        "close loader",
    ]


def test_a_tree_is_synced_whole_before_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "building").mkdir()
    assert changes(tmp_path, "Disk().publish_directory(top / 'building', top / 'done')") == [
        "syncfs building",
        "rename building done",
        "fsync",
    ]


def test_bulk_data_is_not_synced_one_by_one(tmp_path: Path) -> None:
    assert changes(tmp_path, "Disk().add_file(top / 'object', b'content')") == [
        "write new:object",
        "rename new:object object",
    ]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("Disk().remove_file(top / 'old')", ["unlink old", "fsync"]),
        ("Disk().rename_file(top / 'old', top / 'other')", ["rename old other", "fsync"]),
    ],
)
def test_names_change_durably(tmp_path: Path, script: str, expected: list[str]) -> None:
    (tmp_path / "old").touch()
    assert changes(tmp_path, script) == expected


def test_what_is_removed_is_freed_after_its_name_is_gone_for_good(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    found = calls(tmp_path, "Disk().remove_file(top / 'old')")
    assert found == [
        "openat old",
        "unlink old",
        "openat",
        "fsync",
        "close",
        "close old",
    ]


def test_so_is_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    found = calls(tmp_path, "Disk().remove_empty_directory(top / 'old')")
    assert found[0] == "openat old"
    assert found[-4:] == ["openat", "fsync", "close", "close old"]


@pytest.mark.parametrize(
    "script",
    ["Disk().replace_file(top / 'old', b'new')", "Disk().rename_file(top / 'it', top / 'old')"],
)
def test_so_is_what_is_replaced(tmp_path: Path, script: str) -> None:
    (tmp_path / "old").touch()
    (tmp_path / "it").touch()
    found = calls(tmp_path, script)
    assert found[0] == "openat old"
    assert found[-5].startswith("rename")
    assert found[-4:] == ["openat", "fsync", "close", "close old"]
