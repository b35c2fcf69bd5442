"""An initramfs that initramfs-tools builds with bootd's package can mount a deployment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.debian_image import debian_image
from support.layered_image import LayeredImage
from support.vm_packages import debian_packages

from bootd.operations.image.initramfs import member_names
from bootd.operations.lint import lint
from bootd.process import run

_BUILD = """
mount -t proc proc "$1/proc"
mount -t devtmpfs devtmpfs "$1/dev"
chroot "$1" dpkg --install /run/bootd.deb
chroot "$1" mkinitramfs -o "$2" "$3"
"""
_PARTS = {
    "scripts/init-top/bootd",
    "scripts/local-bottom/bootd",
    "usr/bin/mount",
    "usr/bin/umount",
    "usr/libexec/bootd-root",
}
_LINTS = {"initramfs", "kernel-modules"}


@pytest.mark.timeout(900)
def test_it_has_all_that_mounts_a_root(tmp_path: Path) -> None:
    tree = LayeredImage(debian_image(), tmp_path / "bundle", start="v1").rootfs
    (package,) = debian_packages().glob("bootd-initramfs-tools_*.deb")
    shutil.copy(package, tree / "run/bootd.deb")
    (modules,) = (tree / "usr/lib/modules").iterdir()
    initramfs = modules / "initramfs.img"
    before = {finding.lint for finding in lint(tree).findings}
    inside = f"/{initramfs.relative_to(tree)}"
    run(["unshare", "--mount", "sh", "-euc", _BUILD, "sh", tree, inside, modules.name], timeout=600)
    assert before >= _LINTS
    assert not _LINTS & {finding.lint for finding in lint(tree).findings}
    with initramfs.open("rb") as stream:
        names = set(member_names(stream))
    assert names >= _PARTS
    # Without the module a store of SHA-512 digests would stay closed, if the kernel needs one.
    loadable = "/sha512" in (modules / "modules.dep").read_text()
    assert any(Path(name).name.startswith("sha512") for name in names) is loadable
