"""A machine whose EFI system partition is an md RAID1, as installers of hosting providers make it.

Metadata 1.0 lies at the end of each half, so a firmware that knows no RAID reads a half as if it
were the partition. The root stays on the first disk alone.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

from bootd.process import run
from support.cache import cached_folder, digest_of
from support.vm import Saved
from support.vm_disk import running_machine

ARRAY = "/dev/md/esp"
HALVES = ("/dev/vda1", "/dev/vdb1")
MAKE_ARRAY = f"""
set -eu
systemctl stop bootd.service
mkdir -p /tmp/half && mount {HALVES[0]} /tmp/half
tar -C /tmp/half -cf /tmp/esp.tar .
umount /tmp/half
wipefs --quiet --all {HALVES[0]}
mdadm --create {ARRAY} --run --quiet --level=1 --metadata=1.0 --raid-devices=2 {" ".join(HALVES)}
mkfs.vfat -F 32 {ARRAY} >/dev/null
mount {ARRAY} /tmp/half
tar -C /tmp/half --no-same-owner -xf /tmp/esp.tar
umount /tmp/half
mdadm --wait {ARRAY} || :
"""
"""Turns the partition of the running machine into the array, with the same content."""
ADD_TO_FSTAB = """
set -eu
echo "UUID=$(lsblk --noheadings --output UUID /dev/md?*) /boot vfat nofail 0 2" >>/etc/fstab
"""
"""Has the machine mount the array itself, and check its file system before."""
COMPARE = f"""
set -eu
sync
for half in {" ".join(HALVES)}; do
    mkdir -p "/tmp/$half"
    mount -t vfat -o ro,loop "$half" "/tmp/$half"
done
diff -r {" ".join(f"/tmp/{half}" for half in HALVES)} && echo alike
umount {" ".join(f"/tmp/{half}" for half in HALVES)}
"""
"""Looks at what a firmware would see of each half."""


@cache
def two_disks() -> Saved:
    """The machine that runs ``v1``, switched off, with a second disk that has a partition as large.

    Raises:
        ProcessFailedError: a tool is missing or failed.
    """
    begun = running_machine()
    folder = cached_folder("vm-second-disk", digest_of(Path(__file__)), _build)
    return replace(begun, memory=None, more=(folder / "second.raw",))


def _build(folder: Path) -> None:
    disk = folder / "second.raw"
    disk.touch()
    os.truncate(disk, 2 << 30)
    table = "label: gpt\nsize=1024MiB, type=a19d880f-05fc-4d3b-a006-743f0f84911e, name=esp-2\n"
    run(["sfdisk", "--quiet", disk], stdin=table.encode())
