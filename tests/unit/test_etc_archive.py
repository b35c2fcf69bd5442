"""Copies of files of /etc: nothing of them is lost on the way into an archive and back."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from support.etc_trees import MemoryContents, fifo, flatten, folder, lay_out, link, read_back

from bootd.durable import Disk
from bootd.etc.disk.archive import Packing, opened_archive
from bootd.etc.disk.change import Change, apply_changes
from bootd.etc.disk.descriptors import opened_folder
from bootd.etc.disk.snapshot import scan_folder
from bootd.model.errors import DamagedObjectError
from bootd.model.tree import Directory, walk

CONTENTS = MemoryContents()
text = CONTENTS.file
ODD = os.fsdecode(b"n\xff \n")
TREE = folder(
    {
        "f": text(
            "short", 0o4750, time=1_600_000_001, xattrs={b"user.x": b"\xff\0", b"user.y": b""}
        ),
        "empty": text(""),
        ODD: text("long " * 9_000, 0o600),
        "n" * 200: link("t" * 300, time=1_600_000_002),
        "d": folder({"e": folder({"g": text("g")}, 0o711)}, 0o2775, xattrs={b"user.d": b"d"}),
    }
)


def pack(tree: Directory, etc: Path, archive: Path, limit: int = 1 << 30) -> list[bytes]:
    lay_out(tree, etc, CONTENTS)
    entries = list(walk(scan_folder(etc).root))
    with opened_folder(etc) as descriptor:
        packing = Packing(entries, descriptor, etc, limit)
        archive.write_bytes(b"".join(packing.chunks()))
    return packing.left_out


def unpack(archive: Path, target: Path) -> None:
    target.mkdir()
    with opened_archive(archive, target.parent) as found:
        live = scan_folder(target).root
        changes = [Change(path, None, node) for path, node in found.entries.items()]
        assert live.entries == {}
        apply_changes(Disk(), target, target.parent / "work", changes, found)


def test_everything_comes_back(tmp_path: Path) -> None:
    assert pack(TREE, tmp_path / "etc", tmp_path / "a.tar.gz") == []
    unpack(tmp_path / "a.tar.gz", tmp_path / "back")
    before, after = flatten(TREE, CONTENTS), read_back(tmp_path / "back")
    times = {path: value[6] for path, value in before.items() if value[0] != 0o040000}
    assert {path: value[:6] for path, value in after.items() if path} == {
        path: value[:6] for path, value in before.items() if path
    }
    assert {path: after[path][6] for path in times} == times
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "back", "etc"]


def test_tar_reads_it(tmp_path: Path) -> None:
    pack(TREE, tmp_path / "etc", tmp_path / "a.tar.gz")
    (tmp_path / "back").mkdir()
    command = ["tar", "--xattrs", "--xattrs-include=*", "-xzpf", "a.tar.gz", "-C", "back"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    found = read_back(tmp_path / "back")
    expected = flatten(TREE, CONTENTS)
    assert {path: value for path, value in found.items() if path} == {
        path: value for path, value in expected.items() if path
    }


def test_what_is_too_large_is_left_out_and_said(tmp_path: Path) -> None:
    left_out = pack(TREE, tmp_path / "etc", tmp_path / "a.tar.gz", limit=100)
    assert left_out == [os.fsencode(ODD)]
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        assert len(archive.getnames()) == 6


def test_special_files_are_left_out(tmp_path: Path) -> None:
    assert pack(folder({"p": fifo()}), tmp_path / "etc", tmp_path / "a.tar.gz") == []
    with opened_archive(tmp_path / "a.tar.gz", tmp_path) as archive:
        assert archive.entries == {}


def test_a_file_that_is_cut_short_while_it_is_read_keeps_the_archive_whole(tmp_path: Path) -> None:
    etc = lay_out(folder({"a": text("x" * 2_000), "b": text("b")}), tmp_path / "etc", CONTENTS)
    entries = list(walk(scan_folder(etc).root))
    with opened_folder(etc) as descriptor:
        plain = Packing(entries, descriptor, etc, 1 << 20)._plain()
        pieces = [next(plain)]
        (etc / "a").write_bytes(b"y")
        pieces += plain
    (tmp_path / "a.tar").write_bytes(b"".join(pieces))
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert archive.getnames() == ["a", "b"]
        content = archive.extractfile("b")
        assert content is not None
        assert content.read() == b"b"


@pytest.mark.parametrize("keep", [0, 10, 700])
def test_a_damaged_archive_is_named(keep: int, tmp_path: Path) -> None:
    pack(folder({"f": text(os.urandom(3_000))}), tmp_path / "etc", tmp_path / "a.tar.gz")
    data = (tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(data[:keep])
    with pytest.raises(DamagedObjectError):
        unpack(tmp_path / "a.tar.gz", tmp_path / "back")


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedObjectError, match="missing"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "back")
