"""Odd layers through bootd, umoci and containers/storage, which podman and buildah stand on.

Where both others take a layer alike, so does bootd, and where they do not agree, it is with one of
them; what differs stands in docs/images.md with its reason, which is read here. Needs root (owners
and devices) and the packages umoci and skopeo.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from support.effort import FULL
from support.images import OCI_LAYER, build_image, digest, write_oci_layout
from support.odd_layers import BASE, BELOW_HIDDEN, ENDS, ODDITIES, OddLayer, odd_layer
from support.other_tools import ContainersStorage, RefusedError, Seen, Tree, umoci_tree
from support.stored_layer import stored_layer

from bootd.model.digest import Digest
from bootd.model.errors import InvalidLayerError
from bootd.model.tree import Directory, RegularFile, Symlink, file_type, walk
from bootd.store.contents import StoreContents
from bootd.store.images.growing_tree import GrowingTree
from bootd.sysroot import Sysroot

PAGE = Path(__file__).parents[2] / "docs/images.md"
AT_A_TIME = 10 if not FULL else 100
COUNT = 50 if not FULL else 2_000
NANOSECONDS = 10**9


def listed() -> list[str]:
    """The oddities that the page says bootd takes otherwise."""
    _, _, table = PAGE.read_text().partition("<!-- differences -->")
    return re.findall(r"^\| ([^|]+?) \| ", table.partition("<!-- end -->")[0], re.MULTILINE)[1:]


class Tools:
    """The three, with a folder for what they make."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._storage = ContainersStorage(folder / "storage")
        self._number = 0

    def outcomes(self, layer: OddLayer) -> dict[str, Tree | str]:
        """What each makes of a layer, or why it does not take it."""
        folder = self._folder / "one"
        layout = folder / "layout"
        self._number += 1
        write_oci_layout(layout, build_image([BASE, layer.tar]))
        found = {
            "bootd": _outcome(lambda: bootd_tree(folder / "bootd", layer)),
            "umoci": _outcome(lambda: umoci_tree(layout, folder / "umoci")),
            "storage": _outcome(lambda: self._storage.tree(layout, str(self._number))),
        }
        shutil.rmtree(folder)
        return found


def _outcome(make: Callable[[], Tree]) -> Tree | str:
    try:
        return make()
    except RefusedError as error:
        return str(error)


def bootd_tree(folder: Path, layer: OddLayer) -> Tree:
    """What bootd makes of a layer."""
    sysroot = Sysroot.at(folder)
    sysroot.initialise()
    diff_ids = [Digest(digest(tar)) for tar in (BASE, layer.tar)]
    try:
        for tar, diff_id in zip((BASE, layer.tar), diff_ids, strict=True):
            stored_layer(sysroot, [tar], media_type=OCI_LAYER, diff_id=diff_id)
        root = GrowingTree(sysroot, diff_ids).whole()
    except InvalidLayerError as error:
        raise RefusedError(error.message) from error
    return dict(_seen(root, StoreContents(sysroot)))


def _seen(root: Directory, contents: StoreContents) -> Iterator[tuple[bytes, Seen]]:
    names = defaultdict(list)
    for path, node in walk(root):
        names[id(node)].append(path)
    for path, node in walk(root):
        data = node.metadata
        is_folder = isinstance(node, Directory)
        what = b""
        if isinstance(node, RegularFile):
            what = contents.read(node)
        elif isinstance(node, Symlink):
            what = node.target
        time = 0 if is_folder else data.mtime_seconds * NANOSECONDS + data.mtime_nanoseconds
        yield (
            path,
            Seen(
                file_type(node) | data.permissions,
                (data.uid, data.gid),
                what,
                time,
                data.xattrs,
                [] if is_folder else sorted(names[id(node)]),
            ),
        )


def difference(found: dict[str, Tree | str]) -> str | None:
    """What the three make of a layer, if bootd makes of it what neither of the others does."""
    if _alike(found["bootd"], found["umoci"]) or _alike(found["bootd"], found["storage"]):
        return None
    return "\n".join(f"    {name}: {_told(found, name)}" for name in found)


def _alike(one: Tree | str, other: Tree | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str)
    return one == other


def _told(found: dict[str, Tree | str], name: str) -> str:
    one, other = found[name], found["umoci" if name != "umoci" else "bootd"]
    if isinstance(one, str):
        return f"refused: {one}"
    paths = one.keys() if isinstance(other, str) else one.keys() | other.keys()
    differ = (
        path for path in sorted(paths) if isinstance(other, str) or one.get(path) != other.get(path)
    )
    return ", ".join(f"{path!r} {one.get(path)}" for path in islice(differ, 3))


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    assert os.geteuid() == 0, "run this test as root: the tools set owners and make devices"
    return Tools(tmp_path)


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("start", range(0, COUNT, AT_A_TIME))
def test_bootd_makes_of_a_layer_what_others_make(start: int, tools: Tools) -> None:
    known = set(listed())
    alone = []
    for number in range(start, start + AT_A_TIME):
        layer = odd_layer(number)
        why = difference(tools.outcomes(layer))
        if why is not None and known.isdisjoint(layer.oddities):
            alone.append(f"layer {number}: {', '.join(layer.oddities)}\n{why}")
    assert not alone, "\n".join(["docs/images.md does not list this:", *alone])


@pytest.mark.parametrize("oddity", listed())
def test_what_is_listed_differs(oddity: str, tools: Tools) -> None:
    assert oddity in {*ODDITIES, *ENDS, BELOW_HIDDEN}
    layers = (odd_layer(number, oddity) for number in range(40))
    assert any(difference(tools.outcomes(layer)) is not None for layer in layers)
