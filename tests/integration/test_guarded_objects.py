"""Objects that the kernel guards with fs-verity, looked at by a kernel that has none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.installing import disk_image, mounted_device
from support.machine import installed

from bootd.model.errors import NoVerityError
from bootd.operations.fsck import fsck
from bootd.operations.progress import Silent
from bootd.store.images.image import EROFS_NAME
from bootd.store.objects.files import all_objects, object_path

_EXTENTS_AND_VERITY = "0x180000"
"""EXT4_EXTENTS_FL and EXT4_VERITY_FL (Linux, fs/ext4/ext4.h)."""


@pytest.mark.parametrize("what", ["objects", "images"])
def test_what_this_kernel_cannot_read_is_not_taken_for_damage(tmp_path: Path, what: str):
    disk, place = disk_image(tmp_path / "disk", 256 << 20), tmp_path / "mounted"
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    with mounted_device(disk, place, "loop"):
        machine = installed(place)
        sysroot = machine.host.sysroot
        objects = (object_path(sysroot, verity) for verity in all_objects(sysroot))
        guarded = min(objects if what == "objects" else sysroot.images.glob(f"*/{EROFS_NAME}"))
        inode = guarded.stat().st_ino
    order = f"set_inode_field <{inode}> flags {_EXTENTS_AND_VERITY}"
    subprocess.run(["debugfs", "-w", "-R", order, disk], check=True, capture_output=True)
    with mounted_device(disk, place, "loop"):
        if Path("/sys/fs/ext4/features/verity").exists():
            # There is no descriptor, so this is damage to a kernel that knows what it looks for.
            found = fsck(machine.host, Silent(), repair=False)
            assert any(
                str(guarded) in (one.path, f"{one.path}/{EROFS_NAME}") for one in found.damages
            )
            return
        with pytest.raises(NoVerityError, match="kernel has no fs-verity") as refused:
            fsck(machine.host, Silent(), repair=True)
        assert "Boot a kernel" in refused.value.hint
        assert os.path.lexists(guarded)
