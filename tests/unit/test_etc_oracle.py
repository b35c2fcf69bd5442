"""Every combination of kinds and changes, against an oracle that was written apart."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from support.etc_merge import merge
from support.etc_oracle import expected_merge
from support.etc_trees import MemoryContents, fifo, flatten, folder, lay_out, link, read_back

from bootd.model.etc.report import EtcReport
from bootd.model.tree import Directory, Node

Make = Callable[[str, int], Node | None]

CONTENTS = MemoryContents()
LONG = "longer than the sixty-four bytes that an image keeps inside itself; " * 2
PLAIN = {"base": 0o700, "changed": 0o750, "otherwise": 0o711}


def leaf(kind: str, mode: int) -> Node | None:
    makers: dict[str, Callable[[], Node | None]] = {
        "absent": lambda: None,
        "file": lambda: CONTENTS.file(LONG, mode, time=mode),
        "file'": lambda: CONTENTS.file(LONG.upper(), mode, time=mode),
        "folder": lambda: folder({"x": CONTENTS.file("x")}, mode, time=mode),
        "symlink": lambda: link("there", time=mode),
        "symlink'": lambda: link("elsewhere", time=mode),
        "special": lambda: fifo(mode, time=mode),
    }
    return makers[kind]()


KINDS = ["absent", "file", "file'", "folder", "symlink", "symlink'", "special"]


def folder_of(kind: str, mode: int) -> Node | None:
    """A folder in seven states, to meet what is in it with what becomes of it."""
    a, changed, new = CONTENTS.file("a"), CONTENTS.file("A", 0o600), CONTENTS.file("n")
    makers: dict[str, Callable[[], Node | None]] = {
        "absent": lambda: None,
        "empty": lambda: folder({}, mode),
        "a": lambda: folder({"a": a, "d": folder({"e": a})}, mode),
        "a'": lambda: folder({"a": changed, "d": folder({"e": a, "f": new})}, mode),
        "new": lambda: folder({"n": new, "d": CONTENTS.file("no folder")}, mode),
        "file": lambda: CONTENTS.file("file", mode),
        "symlink": lambda: link("elsewhere"),
    }
    return makers[kind]()


FOLDER_KINDS = ["absent", "empty", "a", "a'", "new", "file", "symlink"]


def grow(
    base_kind: str, mine_kind: str, kinds: list[str], make: Make
) -> tuple[Directory, Directory, Directory]:
    """Return base, mine and theirs with one entry for each combination."""
    trees = folder(), folder(), folder()
    for case in product([base_kind], [mine_kind], kinds, PLAIN, PLAIN):
        name = "-".join(case).encode()
        modes = (PLAIN["base"], PLAIN[case[3]], PLAIN[case[4]])
        for tree, kind, mode in zip(trees, case[:3], modes, strict=True):
            node = make(kind, mode)
            if node is not None:
                tree.entries[name] = node
    return trees


def merged(
    trees: tuple[Directory, Directory, Directory], place: Path
) -> tuple[dict[bytes, tuple[object, ...]], EtcReport]:
    base, mine, theirs = trees
    local = lay_out(mine, place / "mine", CONTENTS)
    report = merge(base, local, theirs, CONTENTS, place / "target")
    return read_back(place / "target", times=False), report


@pytest.mark.parametrize(
    ("base_kind", "mine_kind", "kinds", "make"),
    [
        pytest.param(base, mine, kinds, make, id=f"{label}-{base}-{mine}")
        for label, kinds, make in (("one", KINDS, leaf), ("in", FOLDER_KINDS, folder_of))
        for base, mine in product(kinds, kinds)
    ],
)
def test_all_combinations_of_kinds_and_metadata(
    base_kind: str, mine_kind: str, kinds: list[str], make: Make, tmp_path: Path
) -> None:
    trees = grow(base_kind, mine_kind, kinds, make)
    names = sorted(set().union(*(tree.entries for tree in trees)))

    found, report = merged(trees, tmp_path)

    conflicts = {(conflict.path, str(conflict.kind)) for conflict in report.conflicts}
    for name in names:
        flat = [flatten(only(tree, name), CONTENTS, times=False) for tree in trees]
        tree, clashes = expected_merge(*flat)
        del tree[b""]
        assert below(found, name) == tree, name
        assert {item for item in conflicts if within(item[0], name)} == {
            ("/etc/" + path.decode(), kind) for path, kind in clashes
        }, name


def only(tree: Directory, name: bytes) -> Directory:
    return Directory(
        tree.metadata, {key: node for key, node in tree.entries.items() if key == name}
    )


def below(tree: dict[bytes, tuple[object, ...]], name: bytes) -> dict[bytes, tuple[object, ...]]:
    return {path: value for path, value in tree.items() if path.split(b"/")[0] == name}


def within(path: str, name: bytes) -> bool:
    return path.removeprefix("/etc/").split("/")[0] == name.decode()
