"""Symbolic links are followed with a folder as the root, and never out of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from bootd.model.errors import InvalidTreeError
from bootd.model.links import MAX_LINKS, steps
from bootd.model.tree import Directory, Metadata, Node, RegularFile, Symlink, lookup
from bootd.operations.image.root import ImageRoot


def folder(**entries: Node) -> Directory:
    return Directory(Metadata(), {name.encode(): node for name, node in entries.items()})


def link(target: str) -> Symlink:
    return Symlink(Metadata(), target.encode())


FILE = RegularFile(Metadata(), 0, b"")
TREE = folder(
    a=folder(file=FILE, up=link("../../../a/./file"), out=link("/a//file")),
    b=link("a"),
    circle=link("b/../circle"),
    lost=link("nowhere/deep"),
)


@pytest.mark.parametrize(
    ("path", "place", "node"),
    [
        (b"", None, None),
        (b"a/file", b"a/file", FILE),
        (b"//a/./file/", b"a/file", FILE),
        (b"b/up", b"a/file", FILE),
        (b"b/out", b"a/file", FILE),
        (b"../../b/file", b"a/file", FILE),
        (b"a/..", b"", None),
        (b"lost", b"nowhere/deep", None),
    ],
)
def test_where_a_path_leads(path: bytes, place: bytes | None, node: Node | None) -> None:
    *_, last = [(None, None), *steps(path, partial(lookup, TREE))]
    assert last[0] == place
    assert last[1] is node or isinstance(last[1], Directory)


def test_a_circle_ends() -> None:
    with pytest.raises(InvalidTreeError, match="/circle leads in circles"):
        list(steps(b"circle", partial(lookup, TREE)))


@pytest.mark.parametrize("more", [0, 1, 2])
def test_a_long_chain_of_links_does_not_lead_out_of_an_image(tmp_path: Path, more: int) -> None:
    """The last link of a chain that is too long is not left to the kernel, which knows no root."""
    (tmp_path / "outside").write_text("the host's")
    image = tmp_path / "image"
    image.mkdir()
    count = MAX_LINKS + more
    for number in range(count):
        (image / f"link{number}").symlink_to(f"link{number + 1}")
    (image / f"link{count}").symlink_to(tmp_path / "outside")
    root = ImageRoot(image)
    assert root.text("link0") == ""
    assert not root.leads_to_file("link0")
    assert root.names("link0") == []
    assert root.kind("link0/x") == "nothing"
