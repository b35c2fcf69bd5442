"""A Debian of some two gigabytes in twelve gzip layers, and a version with one of them changed.

It is what a developer's machine may hold: compilers, languages, editors, a database. All packages
come from one mmdebstrap run; then their files are dealt out to layers of about equal size, package
by package. What no package owns (kernel in place, initramfs, databases, caches) is the first layer.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.cache import cached_folder, digest_of
from support.debian_image import SUITE, architecture, bootstrap, move_kernel
from support.layered_image import LayeredImage, drop_unreachable

from bench.sizes import size

LAYERS = 12


def big_image() -> Path:
    """The OCI layout folder, built on first use (some ten minutes) and then kept in the cache."""
    support = Path(__file__).parents[1] / "support"
    inputs = [Path(__file__), support / "layered_image.py", support / "debian_image.py"]
    digest = digest_of(SUITE, architecture(), size().packages, *inputs)
    folder = cached_folder("bench-image", digest, _build)
    return folder / "layout"


def _build(folder: Path) -> None:
    plain = folder / "plain"
    bootstrap(plain, size().packages.format(architecture=architecture()))
    move_kernel(plain)
    groups = list(_deal(plain, folder / "groups"))
    image = LayeredImage(folder / "layout", folder / "bundle")
    shutil.copystat(plain, image.rootfs)
    for path in sorted(plain.iterdir()):
        path.rename(image.rootfs / path.name)
    image.seal("step-1")
    for step, group in enumerate(groups[:-2], 2):
        group.put_back(image.rootfs)
        image.seal(f"step-{step}")
    last_common = f"step-{LAYERS - 1}"
    groups[-2].put_back(image.rootfs)
    image.seal("v1")
    shutil.rmtree(folder / "bundle")
    changed = LayeredImage(folder / "layout", folder / "bundle", start=last_common)
    groups[-1].put_back(changed.rootfs)
    changed.seal("v2")
    image.publish("v1", "1")
    image.publish("v2", "2")
    drop_unreachable(folder / "layout", "empty", *(f"step-{step}" for step in range(1, LAYERS)))
    for left in (plain, folder / "bundle", folder / "groups"):
        shutil.rmtree(left)


@dataclass(frozen=True)
class _Group:
    """Files that are taken out of a tree and put back: where each is now, where it belongs."""

    places: dict[Path, str]

    def put_back(self, rootfs: Path) -> None:
        for place, path in self.places.items():
            place.rename(rootfs / path)


def _deal(plain: Path, aside: Path) -> Iterator[_Group]:
    """Take all files that packages own out of a tree, in as many equal groups as there are layers.

    One layer is for the rest, one more group is for the second version.
    """
    aside.mkdir()
    paths = list(_owned_files(plain))
    sizes = {path: (plain / path).lstat().st_size for path in paths}
    share = sum(sizes.values()) / LAYERS
    places: dict[Path, str] = {}
    filled, number = 0, 1
    for index, path in enumerate(paths):
        place = aside / str(index)
        (plain / path).rename(place)
        places[place] = path
        filled += sizes[path]
        if filled >= share * number and number < LAYERS:
            yield _Group(places)
            places, number = {}, number + 1
    yield _Group(places)


def _owned_files(plain: Path) -> Iterator[str]:
    """The files and links of each package in turn, each once, relative to the tree."""
    seen = set()
    root = plain.resolve()
    for listing in sorted((plain / "var/lib/dpkg/info").glob("*.list")):
        for line in listing.read_text().splitlines():
            parent = (plain / line.lstrip("/")).parent.resolve()
            path = parent / line.rpartition("/")[2]
            if path in seen or not path.is_relative_to(root):
                continue
            seen.add(path)
            if path.is_symlink() or path.is_file():
                yield str(path.relative_to(root))
