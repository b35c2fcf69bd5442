"""Which file of an image describes the board."""

from __future__ import annotations

import pytest
from support.boot_tree import large_file, small_file, tree_of

from bootd.boot.kernels.devicetree import pick_devicetree
from bootd.model.errors import NoDevicetreeError
from bootd.model.tree import Directory, Metadata, Symlink, lookup

BY_MACHINE, BY_IMAGE = "/etc/kernel/devicetree", "/usr/lib/kernel/devicetree"
BOARD = "vendor/board-2,rev+1.dtb"
FOLDERS = [
    "/usr/lib/firmware/6.1/device-tree",
    "/usr/lib/linux-image-6.1",
    "/usr/lib/modules/6.1/dtb",
]
DTB = large_file("d", 30_000)


def pick(files, *named):
    tree = tree_of(files)
    return pick_devicetree(list(named), "6.1", lambda path: lookup(tree, path.encode()))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_name_is_looked_for_where_kernel_packages_put_it(folder):
    assert pick({f"{folder}/{BOARD}": DTB}, (BY_IMAGE, f"{BOARD}\n".encode())) is DTB


def test_the_machine_s_name_comes_first_and_may_be_none():
    files = {f"{FOLDERS[2]}/{BOARD}": DTB, f"{FOLDERS[2]}/other.dtb": large_file("e")}
    image_s = (BY_IMAGE, b"other.dtb\n")
    assert pick(files, (BY_MACHINE, BOARD.encode()), image_s) is DTB
    assert pick(files, (BY_MACHINE, b"\n"), image_s) is None


def test_the_file_beside_the_kernel_is_for_who_names_none():
    beside = {"/usr/lib/modules/6.1/devicetree": DTB, f"{FOLDERS[2]}/other.dtb": large_file("e")}
    assert pick(beside) is DTB
    assert pick(beside, (BY_MACHINE, b"")) is None
    assert pick({f"{FOLDERS[2]}/other.dtb": large_file("e")}) is None


@pytest.mark.parametrize(
    ("node", "name", "problem"),
    [
        (DTB, b"gone.dtb", "the image has none of /usr/lib/firmware/6.1/device-tree/gone.dtb"),
        (DTB, b"../../../etc/shadow", "no devicetree's name"),
        (DTB, b"/abs.dtb", "no devicetree's name"),
        (DTB, b"a b.dtb", "no devicetree's name"),
        (DTB, b"\xff", "no devicetree's name"),
        (DTB, b"x" * 4_096, "the image has none"),
        (Symlink(Metadata(), b"other"), BOARD.encode(), "not a regular file"),
        (Directory(Metadata()), BOARD.encode(), "not a regular file"),
        (small_file(b"dtb"), BOARD.encode(), "3 bytes, too few"),
    ],
)
def test_what_is_named_has_to_be_there(node, name, problem):
    with pytest.raises(NoDevicetreeError, match=problem) as caught:
        pick({f"{FOLDERS[2]}/{BOARD}": node}, (BY_MACHINE, name))
    assert "/etc/kernel/devicetree" in caught.value.hint
