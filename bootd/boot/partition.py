"""Prove ``$BOOT`` on a live host, and mount it only while it is needed.

With an overlay root systemd mounts no ESP; see
docs/decisions/0006-three-tries-and-our-own-blessing.md. So bootd mounts what the boot loader came
from; which of several candidates that is, is a matter of proof.

The mount is private if the process has a mount namespace of its own (``PrivateMounts=`` in its
unit). Each thread mounts on a folder of its own, so that one's end does not take it from another. A
file system that somebody mounted read-only can be mounted here read-only alone, because the kernel
refuses to mount one both ways at once.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from bootd.boot.devices.arrays import made_alike
from bootd.boot.devices.candidates import Candidates, Place, candidates
from bootd.boot.devices.loader_devices import boot_device
from bootd.boot.devices.mounts import device_number, mount_of
from bootd.boot.proof import Proof, loader_started_us, needs_proof, proof_of, refusal, what_is_there
from bootd.durable import storage_errors
from bootd.model.boot.partition import BootMirror, BootPartition
from bootd.model.errors import BootdError, NoBootPartitionError, ProcessFailedError
from bootd.process import run
from bootd.sysroot import Sysroot

__all__ = ["boot_device", "boot_partition"]

_log = logging.getLogger(__name__)

_MOUNT_OPTIONS: Final = "nodev,noexec,nosuid,nosymfollow"
_LABEL: Final = "security.selinux"
_MOUNT_POINT: Final = Path("/boot")
"""An empty folder of each deployment, which every policy has a type for."""
_NOWHERE: Final = "no-boot-partition"
"""A folder of bootd's for this boot that is never made: where nothing is read or written."""


@contextmanager
def boot_partition(
    sysroot: Sysroot,
    configured: Path | None,
    mirrors: Sequence[Path] = (),
    *,
    root: Path = Path("/"),
) -> Iterator[Sysroot]:
    """Give the machine with its ``$BOOT`` mounted, for as long as the context lasts.

    Where no partition is proven to be it, `boot` is a folder that does not exist, and `partition`
    has the refusal: what only reads goes on, and what writes asks `require_boot` first.

    Args:
        sysroot: the machine; the mount point is made in its `run` folder.
        configured: ``boot_partition`` of the configuration: a folder or a block device.
        mirrors: ``boot_partitions`` of the configuration: devices that are kept like ``$BOOT``.
        root: where ``/boot``, ``/sys`` and the like are looked up.

    Raises:
        ProcessFailedError: unmounting failed.
        WriteFailedError: the mount point cannot be made.
    """
    looked_at = candidates(sysroot, configured, root)
    with ExitStack() as stack:
        proven = _choose(sysroot, looked_at, stack)
        if proven is None:
            reasons = [*looked_at.remarks, *looked_at.reasons]
            partition = BootPartition(refusal=refusal(sysroot, reasons, looked_at.hint))
            proven = replace(sysroot, boot=sysroot.run / _NOWHERE, partition=partition)
        else:
            proven = _with_mirrors(proven, mirrors, stack)
        yield proven


def _choose(sysroot: Sysroot, looked_at: Candidates, stack: ExitStack) -> Sysroot | None:
    """Return the machine with the best proven place mounted until the stack ends, or None."""
    readable: list[tuple[Proof, Place]] = []
    for place in looked_at.places:
        with ExitStack() as inner:
            try:
                here = _opened(sysroot, place, looked_at, inner)
                proof = proof_of(here)
                if proof is Proof.NONE:
                    looked_at.reasons.append(f"{place.name} {what_is_there(here)}")
            except NoBootPartitionError as error:
                looked_at.reasons.append(error.message)
                continue
            except (BootdError, OSError) as error:
                looked_at.reasons.append(f"{place.name} cannot be read: {error}")
                continue
            if proof is Proof.RUNNING:
                stack.push(inner.pop_all())
                return here
            readable.append((proof, place))
    best = max((proof for proof, _ in readable), default=Proof.NONE)
    # The loader's word says that it read the entry, and of a single place also where.
    by_its_word = len(looked_at.places) == 1 and loader_started_us(sysroot)
    if best is Proof.NONE and needs_proof(sysroot) and not by_its_word:
        return None
    for proof, place in readable:
        if proof is best:
            return _opened(sysroot, place, looked_at, stack)
    return None


def _opened(sysroot: Sysroot, place: Place, looked_at: Candidates, stack: ExitStack) -> Sysroot:
    uneven = () if place.array is None else made_alike(sysroot, place.array)
    folder = stack.enter_context(_mounted(sysroot, place.path))
    partition = BootPartition(place.name, None, (*looked_at.remarks, *place.remarks, *uneven))
    return replace(sysroot, boot=folder, partition=partition)


def _with_mirrors(sysroot: Sysroot, devices: Sequence[Path], stack: ExitStack) -> Sysroot:
    """Mount what else is kept like ``$BOOT``; what cannot be is told of, and holds nothing up."""
    partition = sysroot.partition
    mount = mount_of(sysroot.boot)
    taken = {None if mount is None else mount.number}
    opened: list[BootMirror] = []
    remarks = list(partition.remarks)
    for device in devices:
        name = f"{device}, which boot_partitions names,"
        number = device_number(device)
        if number in taken:
            continue
        taken.add(number)
        if number is None:
            remarks.append(f"{name} is no block device that is here")
            continue
        try:
            folder = stack.enter_context(_mounted(sysroot, device, f"-{len(opened)}"))
        except BootdError as error:
            remarks.append(f"{name} is not written: {error.message}")
        else:
            opened.append(BootMirror(str(device), folder))
    kept = replace(partition, remarks=tuple(remarks), mirrors=tuple(opened))
    return replace(sysroot, partition=kept)


@contextmanager
def _mounted(sysroot: Sysroot, path: Path, suffix: str = "") -> Iterator[Path]:
    if path.is_dir():
        with storage_errors("open", path):
            # An automount is not left while it is open.
            opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield path
        finally:
            os.close(opened)
        return
    target = sysroot.run / f"boot-{threading.get_native_id()}{suffix}"
    sysroot.disk.make_directory(target, 0o700)
    with suppress(OSError):
        # Where SELinux is enforced mount(8) mounts only over what the policy calls a mount point.
        os.setxattr(target, _LABEL, os.getxattr(_MOUNT_POINT, _LABEL))
    try:
        _mount(path, target)
    except ProcessFailedError as error:
        sysroot.disk.discard_directory(target)
        raise NoBootPartitionError(f"{path} cannot be mounted: {error.message}") from error
    _log.debug("mounted %s on %s", path, target)
    try:
        yield target
    finally:
        run(["umount", target])
        sysroot.disk.discard_directory(target)


def _mount(device: Path, target: Path) -> None:
    try:
        run(["mount", "--options", f"rw,{_MOUNT_OPTIONS}", device, target])
    except ProcessFailedError as refused:
        try:
            run(["mount", "--options", f"ro,{_MOUNT_OPTIONS}", device, target])
        except ProcessFailedError:
            raise refused from None
