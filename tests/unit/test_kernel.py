"""The kernel of an image, and its copy on the boot partition."""

from __future__ import annotations

import hashlib
import os
from functools import partial

import pytest
from support.boot_tree import (
    KERNEL_DIGEST,
    boot_entry,
    install_test_kernel,
    large_file,
    small_file,
    snapshot,
    store_kernel,
    tree_of,
)
from support.power import CutDisk, PowerCut

from bootd.boot.entries import commit_entry
from bootd.boot.kernels.image_kernel import find_kernel
from bootd.boot.kernels.kernel import (
    check_boot_space,
    install_kernel,
    kernel_damage,
    kernel_files,
    needed_boot_space,
    needed_entry_space,
)
from bootd.boot.kernels.kernel_folders import kernel_folder, remove_kernel, unreferenced_kernels
from bootd.model.errors import (
    BootPartitionFullError,
    DamagedObjectError,
    InvalidTreeError,
    NoInitramfsError,
    NoKernelError,
    SeveralKernelsError,
)
from bootd.model.tree import Directory, Metadata, Symlink
from bootd.sysroot import Sysroot

MODULES = "/usr/lib/modules"


def test_the_kernel_of_an_image():
    kernel, initramfs = large_file("a", 10_000), large_file("b", 20_000)
    tree = tree_of(
        {
            f"{MODULES}/6.12.0-1/vmlinuz": kernel,
            f"{MODULES}/6.12.0-1/initramfs.img": initramfs,
            f"{MODULES}/6.12.0-1/initrd.img": large_file("c"),
            f"{MODULES}/6.1.0-9/modules.dep": small_file(b"left over"),
            f"{MODULES}/README": small_file(b""),
        }
    )
    found = find_kernel(tree)
    assert (found.version, found.kernel, found.initramfs) == ("6.12.0-1", kernel, initramfs)
    files = kernel_files(found)
    assert (files.kernel_object, files.kernel_size) == ("a" * 64, 10_000)
    assert (files.initramfs_object, files.initramfs_size) == ("b" * 64, 20_000)
    both = bytes.fromhex("a" * 64 + "b" * 64)
    assert files.digest == hashlib.sha256(both).hexdigest()


@pytest.mark.parametrize("name", ["initrd.img", "initrd"])
def test_the_other_names_of_an_initramfs(name):
    initramfs = large_file("b")
    tree = tree_of({f"{MODULES}/6/vmlinuz": large_file("a"), f"{MODULES}/6/{name}": initramfs})
    assert find_kernel(tree).initramfs is initramfs


def test_a_kernel_with_a_uki_beside_it_is_that_kernel():
    kernel = large_file("a")
    tree = tree_of(
        {
            f"{MODULES}/6/vmlinuz": kernel,
            f"{MODULES}/6/initramfs.img": large_file("b"),
            f"{MODULES}/6/vmlinuz-virt.efi": large_file("c"),
        }
    )
    assert find_kernel(tree).kernel is kernel


LINK = Symlink(Metadata(), b"/boot/vmlinuz")
BAD_IMAGES = {
    "nothing": ({}, NoKernelError, ["vmlinuz", "initramfs.img", MODULES]),
    "no kernel": (
        {f"{MODULES}/6/initramfs.img": large_file("b")},
        NoKernelError,
        ["vmlinuz", "initramfs.img", "1 folders"],
    ),
    "no initramfs": (
        {f"{MODULES}/6/vmlinuz": large_file("a")},
        NoInitramfsError,
        [f"{MODULES}/6/vmlinuz", "initramfs.img", "initrd.img"],
    ),
    "two kernels": (
        {f"{MODULES}/{version}/vmlinuz": large_file("a") for version in "67"},
        SeveralKernelsError,
        [f"{MODULES}/6/vmlinuz", f"{MODULES}/7/vmlinuz"],
    ),
    "many kernels": (
        {f"{MODULES}/{version}/vmlinuz": large_file("a") for version in range(100)},
        SeveralKernelsError,
        ["100 kernels", "and 95 more"],
    ),
    "a link": ({f"{MODULES}/6/vmlinuz": LINK}, NoKernelError, ["not a regular file"]),
    "a tiny kernel": ({f"{MODULES}/6/vmlinuz": small_file(b"x")}, NoKernelError, ["1 bytes"]),
    "a folder": (
        {f"{MODULES}/6/vmlinuz": Directory(Metadata())},
        NoKernelError,
        ["not a regular file"],
    ),
    "an empty initramfs": (
        {f"{MODULES}/6/vmlinuz": large_file("a"), f"{MODULES}/6/initramfs.img": small_file(b"")},
        NoInitramfsError,
        ["initramfs.img has 0 bytes"],
    ),
    "a version with a line break": (
        {f"{MODULES}/6\n/vmlinuz": large_file("a")},
        InvalidTreeError,
        ["no kernel version"],
    ),
    **{
        f"a UKI in {path}": ({path: large_file("a")}, NoKernelError, ["UKI", path])
        for path in (
            f"{MODULES}/6/6.efi",
            "/boot/EFI/Linux/debian.EFI",
            "/boot/efi/EFI/Linux/fedora.efi",
            "/efi/efi/linux/arch.efi",
        )
    },
    "an addon for a UKI": (
        {f"{MODULES}/6/x.addon.efi": large_file("a")},
        NoKernelError,
        ["no kernel", "1 folders"],
    ),
    "an initramfs in a UKI only": (
        {f"{MODULES}/6/vmlinuz": large_file("a"), f"{MODULES}/6/6.efi": large_file("b")},
        NoInitramfsError,
        ["UKI", f"{MODULES}/6/6.efi"],
    ),
    "modules as a link": ({MODULES: LINK}, NoKernelError, [MODULES]),
}


@pytest.mark.parametrize(("files", "kind", "words"), BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_images_no_host_could_boot(files, kind, words):
    with pytest.raises(kind) as caught:
        find_kernel(tree_of(files))
    for word in words:
        assert word in caught.value.message


KERNEL, INITRAMFS = b"k" * 300_000, b"i" * 500_000
DIGEST = "cd" * 32


@pytest.fixture
def sysroot(tmp_path) -> Sysroot:
    found = Sysroot.at(tmp_path)
    found.initialise()
    found.boot.mkdir(exist_ok=True)
    return found


@pytest.fixture
def files(sysroot):
    return store_kernel(sysroot, KERNEL, INITRAMFS, DIGEST)


def _owner(sysroot: Sysroot) -> str:
    installation = sysroot.installation()
    return (installation or "")[:8]


def _installed(sysroot: Sysroot) -> dict[str, bytes]:
    """What is below ``bootd``, by names without this installation's ID."""
    names = snapshot(sysroot.boot / "bootd")
    own = f"-{_owner(sysroot)}/"
    return {name.replace(own, "/"): data for name, data in names.items()}


WHOLE = {f"{DIGEST}/vmlinuz": KERNEL, f"{DIGEST}/initrd": INITRAMFS}


def test_installing_twice_writes_once(sysroot, files):
    assert needed_boot_space(sysroot, files) > len(KERNEL) + len(INITRAMFS)
    folder = install_kernel(sysroot, files)
    assert _installed(sysroot) == WHOLE
    assert needed_boot_space(sysroot, files) == 0
    before = [path.stat() for path in sorted(folder.iterdir())]
    install_kernel(sysroot, files)
    after = [path.stat() for path in sorted(folder.iterdir())]
    assert [(found.st_ino, found.st_mtime_ns) for found in after] == [
        (found.st_ino, found.st_mtime_ns) for found in before
    ]
    assert kernel_damage(sysroot, files) is None


@pytest.mark.parametrize("content", [None, b"", b"short", b"X" * len(KERNEL)])
def test_a_damaged_copy_is_named_and_mended(sysroot, files, content):
    folder = install_kernel(sysroot, files)
    initrd = (folder / "initrd").stat()
    (folder / "vmlinuz").unlink()
    if content is not None:
        (folder / "vmlinuz").write_bytes(content)
    (folder / ".new-1-vmlinuz").write_bytes(b"cut off")
    problem = kernel_damage(sysroot, files)
    assert problem is not None
    assert "vmlinuz" in problem
    install_kernel(sysroot, files)
    assert _installed(sysroot) == WHOLE
    assert (folder / "initrd").stat().st_ino == initrd.st_ino


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_damaged_object_is_not_installed(sysroot, files, damage):
    path = sysroot.objects / files.initramfs_object[:2] / files.initramfs_object[2:]
    if damage == "missing":
        path.unlink()
    else:
        os.truncate(path, 10)
    with pytest.raises(DamagedObjectError, match=files.initramfs_object):
        install_kernel(sysroot, files)
    assert _installed(sysroot) == {}


def test_a_kernel_that_does_not_fit(sysroot, files):
    large = files.model_copy(update={"initramfs_size": 1 << 60})
    with pytest.raises(BootPartitionFullError, match=r"6\.12\.0-test needs .* MiB are free"):
        check_boot_space(sysroot, large)
    install_kernel(sysroot, files)
    check_boot_space(sysroot, files)


def test_room_is_counted_in_whole_clusters(sysroot, files, monkeypatch):
    before = needed_boot_space(sysroot, files)
    found = os.statvfs(sysroot.boot)
    cluster = 1 << 15
    coarse = os.statvfs_result((cluster, cluster, 100, 50, 50, *found[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: coarse)
    rounded = -(-len(KERNEL) // cluster) * cluster + -(-len(INITRAMFS) // cluster) * cluster
    assert needed_boot_space(sysroot, files) == rounded + (256 << 10)
    assert rounded > len(KERNEL) + len(INITRAMFS)
    assert before < needed_boot_space(sysroot, files)
    assert needed_entry_space(sysroot) == 2 * cluster


def test_what_is_copied_already_is_not_asked_for_again(sysroot, files):
    whole = needed_boot_space(sysroot, files)
    folder = kernel_folder(sysroot, DIGEST)
    folder.mkdir(parents=True)
    (folder / "vmlinuz").write_bytes(KERNEL)
    assert needed_boot_space(sysroot, files) <= whole - len(KERNEL)
    # A copy of another size makes room for its successor.
    (folder / "initrd").write_bytes(INITRAMFS[:400_000])
    assert needed_boot_space(sysroot, files) < 400_000


def test_what_nobody_names_may_go(sysroot, files):
    assert unreferenced_kernels(sysroot, []) == []
    install_test_kernel(sysroot)
    commit_entry(sysroot, boot_entry(1))
    install_kernel(sysroot, files)
    foreign, kept, old = "ef" * 32, "0a" * 32, "0b" * 32
    theirs = f"{DIGEST}-{'0' * 8}"
    own = f"{DIGEST}-{_owner(sysroot)}"
    named = f"{foreign}-{_owner(sysroot)}"
    stay = (foreign, kept, f"{kept}-{_owner(sysroot)}", theirs, named, "somebody-else")
    for name in (*stay, old, ".new-gone-x"):
        (sysroot.boot / "bootd" / name).mkdir()
    text = f"title X\nlinux /bootd/{foreign}/vmlinuz\ninitrd /bootd/{named}/initrd\n"
    (sysroot.boot / "loader/entries/foreign.conf").write_text(text)
    assert unreferenced_kernels(sysroot, [kept]) == [".new-gone-x", old, own]
    for name in unreferenced_kernels(sysroot, [kept]):
        remove_kernel(sysroot, name)
    left = sorted(path.name for path in (sysroot.boot / "bootd").iterdir())
    assert left == sorted([KERNEL_DIGEST, *stay])
    remove_kernel(sysroot, own)


def test_a_folder_of_an_older_bootd_is_used_on(sysroot, files):
    shared = sysroot.boot / "bootd" / DIGEST
    shared.mkdir(parents=True)
    assert install_kernel(sysroot, files) == shared
    assert needed_boot_space(sysroot, files) == 0
    assert kernel_damage(sysroot, files) is None
    remove_kernel(sysroot, DIGEST)
    assert install_kernel(sysroot, files) == kernel_folder(sysroot, DIGEST) != shared


@pytest.mark.parametrize("loss", ["killed", "torn", "lost"])
def test_a_power_cut_at_any_step_is_mended_by_the_next_try(tmp_path, loss):
    for cut in range(50):
        folder = tmp_path / str(cut)
        disk = CutDisk(tmp_path / f"limbo-{cut}", cut)
        sysroot = Sysroot.at(folder, disk)
        files = store_kernel(sysroot, KERNEL, INITRAMFS, DIGEST)
        sysroot.boot.mkdir()
        finished = _until_cut(partial(install_kernel, sysroot, files))
        disk.lose(loss)
        whole = Sysroot.at(folder)
        if finished:
            assert _installed(whole) == WHOLE
            assert cut > 5
            return
        install_kernel(whole, files)
        assert _installed(whole) == WHOLE
    pytest.fail("it never finished")


def _until_cut(action) -> bool:
    try:
        action()
    except PowerCut:
        return False
    return True
