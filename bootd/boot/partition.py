"""Find ``$BOOT`` on a live host, and mount it only while it is needed (design D8).

With an overlay root systemd mounts no ESP. So bootd asks the loader: systemd-boot leaves the
partition UUID of the ESP it was started from in the EFI variable ``LoaderDevicePartUUID``.
``$BOOT`` is the XBOOTLDR partition of the same disk where there is one, else that ESP (UAPI.1,
"The $BOOT Partition Placeholder").

The mount is private if the process has a mount namespace of its own (``PrivateMounts=`` in its
unit). Each thread mounts on a folder of its own, so that one's end does not take it from another;
and always for writing, because the kernel refuses to mount a device both ways at once.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bootd.boot.efi_variables import read_variable
from bootd.model.errors import NoBootPartitionError, ProcessFailedError
from bootd.process import run
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

LOADER_PARTITION: Final = "LoaderDevicePartUUID"
"""The variable in which a boot loader leaves where it was started from."""
XBOOTLDR_TYPE: Final = "bc13c2ff-59e6-4262-a352-b275fd6f7172"
USUAL_MOUNT_POINTS: Final = ("boot", "efi", "boot/efi")

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_MOUNT_OPTIONS: Final = "rw,nodev,noexec,nosuid,nosymfollow"


@contextmanager
def boot_partition(
    sysroot: Sysroot, configured: Path | None, *, root: Path = Path("/")
) -> Iterator[Path]:
    """Give the folder that ``$BOOT`` is mounted on, for as long as the context lasts.

    Args:
        sysroot: the machine; the mount point is made in its `run` folder.
        configured: ``boot_partition`` of the configuration: a folder or a block device.
        root: where ``/boot`` and the like are looked up.

    Raises:
        NoBootPartitionError: it was not found or cannot be mounted.
        ProcessFailedError: the list of block devices cannot be had, or unmounting failed.
        WriteFailedError: the mount point cannot be made.
    """
    found = configured or mounted_boot(root)
    if found is None:
        partition = loader_partition(sysroot)
        if partition is None:
            raise NoBootPartitionError(
                "no loader/entries under /boot, /efi or /boot/efi, and the boot loader does not "
                "say which partition it came from"
            )
        found = boot_device(_block_devices(), partition)
    if found.is_dir():
        yield found
        return
    target = sysroot.run / f"boot-{threading.get_native_id()}"
    sysroot.disk.make_directory(target, 0o700)
    try:
        run(["mount", "--options", _MOUNT_OPTIONS, found, target])
    except ProcessFailedError as error:
        raise NoBootPartitionError(f"{found} cannot be mounted: {error.message}") from error
    _log.debug("mounted %s on %s", found, target)
    try:
        yield target
    finally:
        run(["umount", target])


def mounted_boot(root: Path) -> Path | None:
    """Return the usual mount point that holds ``loader/entries``, or None."""
    candidates = (root / name for name in USUAL_MOUNT_POINTS)
    return next((path for path in candidates if (path / "loader/entries").is_dir()), None)


def loader_partition(sysroot: Sysroot) -> str | None:
    """Return the partition UUID the boot loader was started from, lower case, or None.

    Raises:
        NoBootPartitionError: the variable does not hold a UUID.
    """
    value = read_variable(sysroot, LOADER_PARTITION)
    if value is None:
        return None
    text = value.lower()
    if _UUID.fullmatch(text) is None:
        raise NoBootPartitionError(
            f"{LOADER_PARTITION} holds {text[:100]!r}, which is no partition UUID"
        )
    return text


def boot_device(listing: bytes, partition: str) -> Path:
    """Return the device of ``$BOOT``.

    Args:
        listing: what ``lsblk --json --list`` prints with the columns PATH, PARTUUID, PARTTYPE and
            PKNAME.
        partition: the UUID of the ESP's partition.

    Raises:
        NoBootPartitionError: there is no such partition.
    """
    devices = json.loads(listing)["blockdevices"]
    esp = next((device for device in devices if _is(device, "partuuid", partition)), None)
    if esp is None:
        raise NoBootPartitionError(
            f"the boot loader came from partition {partition}, which no block device has"
        )
    disk = esp["pkname"]
    on_same_disk = (device for device in devices if disk and device["pkname"] == disk)
    extended = (device for device in on_same_disk if _is(device, "parttype", XBOOTLDR_TYPE))
    return Path(next(extended, esp)["path"])


def _is(device: dict[str, str | None], column: str, value: str) -> bool:
    return (device[column] or "").lower() == value


def _block_devices() -> bytes:
    columns = "PATH,PARTUUID,PARTTYPE,PKNAME"
    return run(["lsblk", "--json", "--list", "--output", columns]).stdout
