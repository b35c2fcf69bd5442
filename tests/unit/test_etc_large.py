"""Many files, and a large one: memory stays bounded."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.etc_merge import merge
from support.etc_trees import MemoryContents, folder, lay_out

from bootd.model.tree import Directory

CONTENTS = MemoryContents()
LARGE = 2 << 30
SAMPLE = 10_000
"""As many files stand for a million: memory grows with their number."""
MOST_A_FILE = 1_500
"""Bytes that one of a million files may take, in the snapshot, the plan and the second look."""


@contextmanager
def measured() -> Iterator[list[int]]:
    """Give a list that has the most memory that Python held, in bytes, when the block ends."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def test_a_file_of_two_gib_takes_no_memory_and_keeps_its_holes(tmp_path: Path) -> None:
    mine = lay_out(folder(), tmp_path / "mine", CONTENTS)
    with (mine / "large").open("wb") as stream:
        stream.write(b"begin")
        stream.seek(LARGE // 2)
        stream.write(b"middle")
        stream.truncate(LARGE)
    with measured() as peak:
        report = merge(folder(), mine, folder(), CONTENTS, tmp_path / "target")
    assert peak[0] < 4 << 20
    assert report.counts.kept == 1
    found = tmp_path / "target/large"
    assert found.stat().st_size == LARGE
    assert found.stat().st_blocks * 512 < 1 << 20
    with found.open("rb") as stream:
        assert stream.read(6) == b"begin\0"
        stream.seek(LARGE // 2)
        assert stream.read(7) == b"middle\0"


def test_a_million_files_take_no_more_than_a_machine_has(tmp_path: Path) -> None:
    many = {f"{number:05}": CONTENTS.file(f"{number}") for number in range(SAMPLE)}
    mine = lay_out(folder({"d": folder(many)}), tmp_path / "mine", CONTENTS)
    base: Directory = folder()
    with measured() as peak:
        report = merge(base, mine, base, CONTENTS, tmp_path / "target")
    assert report.counts.kept == SAMPLE + 1
    assert peak[0] < SAMPLE * MOST_A_FILE
