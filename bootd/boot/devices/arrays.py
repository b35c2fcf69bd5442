"""The halves of a RAID1 that ``$BOOT`` is on, made alike before it is mounted in a boot.

A boot loader that knows no RAID reads one half as if it were the partition. systemd-boot also
writes there: it counts a try by renaming a boot entry, and leaves a random seed. Linux does not
know of that; it reads from either half, and so sees a directory of which one part is older than
the other. Therefore what differs is copied from the half that the loader used, through the array,
before the file system is mounted for the first time: its writes are the newest there are.

Only arrays of the kernel (md) are meant. A firmware that has made the array itself, with metadata
that md calls external, writes all halves.

Sources: Linux, Documentation/admin-guide/md.rst; systemd, src/boot/boot.c and random-seed.c.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.boot.devices.block_devices import BlockDevice, BlockDevices
from bootd.boot.devices.fat import places_of_loaders
from bootd.file_lock import locked
from bootd.model.errors import WriteFailedError
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

_SECTOR: Final = 512
"""What sysfs counts in, whatever the sectors of the disk are."""
_CHUNK: Final = 1 << 20
_BLOCK: Final = 4_096
"""What places and lengths are whole numbers of, past the page cache, on any disk."""
_MAX_BYTES: Final = 16 << 30
"""More than a boot partition has; one that is no FAT is read wholly."""
_LOCK_SECONDS: Final = 300.0
_DEVICES: Final = Path("sys/class/block")


@dataclass(frozen=True, slots=True)
class Half:
    """One copy of a file system.

    Attributes:
        device: the block device that it is on.
        offset: the byte of that device at which the file system begins.
    """

    device: Path
    offset: int


@dataclass(frozen=True, slots=True)
class BootArray:
    """A RAID1 array with ``$BOOT``, or one of which a partition is.

    Attributes:
        name: the array's, as the kernel has it, such as ``md127``.
        device: what is mounted: the array, or that partition of it.
        loaded: the half that the boot loader read and wrote; None: the array does without it.
        others: those of the other halves that the array takes for good.
        control: the array's folder ``md`` in sysfs.
    """

    name: str
    device: Path
    loaded: Half | None
    others: tuple[Half, ...]
    control: Path


def array_of(
    devices: BlockDevices, device: BlockDevice, partition: str, root: Path
) -> BootArray | None:
    """Return the array of which a boot loader saw one half, or None: it saw all there is.

    Args:
        devices: the machine's.
        device: what is mounted.
        partition: the UUID of the partition that the loader came from, in lower case. With the
            table of partitions in the array each disk has it; then the array's first half counts,
            which is the one that md itself would take.
        root: where ``/sys`` is looked up.
    """
    arrays = [one for one in (device, *devices.parents(device)) if one.kind == "raid1"]
    if len(arrays) != 1:
        return None
    [array] = arrays
    control = root / _DEVICES / array.name / "md"
    start = 0 if device is array else _number(root / _DEVICES / device.name / "start")
    version = _text(control / "metadata_version")
    if start is None or not version or version.startswith("external"):
        return None
    halves = {
        member.name: Half(Path(member.path), (offset + start) * _SECTOR)
        for member, offset in _in_sync(devices, control)
    }
    used = _used_by_loader(devices, array, partition)
    if used is None:
        used = next(iter(halves), None)
    others = tuple(half for name, half in halves.items() if name != used)
    return BootArray(array.name, Path(device.path), halves.get(used or ""), others, control)


def made_alike(sysroot: Sysroot, array: BootArray) -> tuple[str, ...]:
    """Copy what differs from the half that the loader used to the others, once in a boot.

    Returns:
        What could not be done, a sentence each.

    Raises:
        BusyError: another process has been at it for minutes.
        WriteFailedError: bootd's folder for this boot cannot be written to.
    """
    done = sysroot.run / f"{array.name}.alike"
    sysroot.disk.make_directory(sysroot.run, 0o755)
    with locked(sysroot.run / "arrays.lock", wait_seconds=_LOCK_SECONDS):
        if done.exists():
            return tuple(done.read_text(encoding="utf-8").splitlines())
        remarks, is_final = _make_alike(sysroot, array)
        if is_final:
            sysroot.disk.add_file(done, "\n".join(remarks).encode(), 0o644)
        return remarks


def _make_alike(sysroot: Sysroot, array: BootArray) -> tuple[tuple[str, ...], bool]:
    """Return what could not be done, and whether it is not to be tried again in this boot."""
    subject = f"the halves of the RAID array {array.name} that the boot partition is on"
    if array.loaded is None:
        told = f"{subject} are not alike: the machine was started from one that is not in sync"
        return (told,), True
    if not array.others:
        return (), True
    try:
        with _opened(array.device, os.O_RDWR | os.O_EXCL) as target, _resync_held(array):
            copied = _copy(sysroot, array, array.loaded, target)
    except OSError as error:
        if error.errno == errno.EBUSY:
            told = (
                f"{subject} were not made alike, for {array.device} was mounted before; "
                "bootd-boot-array.service has to run earlier than that (systemctl status)"
            )
            return (told,), False
        return (f"{subject} could not be made alike: {os.strerror(error.errno or 0)}",), True
    except WriteFailedError as error:
        return (f"{subject} could not be made alike: {error.message}",), True
    if copied:
        _log.info("%s differed in %d bytes", subject, copied)
    return (), True


def _copy(sysroot: Sysroot, array: BootArray, loaded: Half, target: int) -> int:
    size = os.lseek(target, 0, os.SEEK_END)
    if size > _MAX_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    copied = 0
    with ExitStack() as stack:
        source, *others = (
            (stack.enter_context(_opened(half.device, os.O_RDONLY)), half.offset)
            for half in (loaded, *array.others)
        )
        # Each piece goes to all halves. A cut leaves pieces that differ, to be copied next time.
        for place, piece in _differences(source, others, size):
            sysroot.disk.overwrite(target, array.device, place, piece)
            copied += len(piece)
    if copied:
        sysroot.disk.sync_device(array.device)
    return copied


def _differences(
    source: tuple[int, int], others: Sequence[tuple[int, int]], size: int
) -> Iterator[tuple[int, memoryview]]:
    """Yield the pieces in which others differ from the source, with their places.

    Args:
        source: an open device, and the byte where the file system begins.
        others: like it.
        size: the file system's, in bytes.
    """
    # Memory of whole pages, as reading past the page cache wants it: that may be older than a half.
    own, *buffers = [mmap.mmap(-1, _CHUNK) for _ in range(1 + len(others))]
    for place, count in _pieces(_to_compare(source, own, size), size):
        _read_into(own, source, place, count)
        for half, buffer in zip(others, buffers, strict=True):
            _read_into(buffer, half, place, count)
        wanted = own[:count]
        if any(buffer[:count] != wanted for buffer in buffers):
            yield place, memoryview(own)[:count]


def _to_compare(source: tuple[int, int], buffer: mmap.mmap, size: int) -> list[tuple[int, int]]:
    """Return where the loader may have written; everywhere, on a file system that is no FAT."""

    def read(place: int, count: int) -> bytes:
        data = b""
        for begin, length in _pieces([(place, count)], size):
            _read_into(buffer, source, begin, length)
            data += buffer[:length]
        return data[place % _BLOCK :][:count]

    try:
        return places_of_loaders(read)
    except ValueError as error:
        _log.info("all of %d bytes are compared: %s", size, error)
        return [(0, size)]


def _pieces(places: Sequence[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """Yield places and lengths in whole blocks, each once, none longer than a chunk."""
    at = 0
    for place, length in places:
        begin = max(at, place // _BLOCK * _BLOCK)
        at = max(at, min(size, -(-(place + length) // _BLOCK) * _BLOCK))
        for one in range(begin, at, _CHUNK):
            yield one, min(_CHUNK, at - one)


def _read_into(buffer: mmap.mmap, half: tuple[int, int], place: int, count: int) -> None:
    descriptor, offset = half
    with memoryview(buffer)[:count] as view:
        if os.preadv(descriptor, [view], offset + place) != count:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@contextmanager
def _resync_held(array: BootArray) -> Iterator[None]:
    """Stop a resync for a time: after a power cut md copies its first half to the others."""
    action = array.control / "sync_action"
    is_running = _text(action) == "resync"
    if is_running:
        _log.info("holding the resync of %s", array.name)
    # A service may be kept from writing to /sys; then the resync wins where it came first.
    with suppress(OSError):
        if is_running:
            action.write_text("frozen")
    try:
        yield
    finally:
        with suppress(OSError):
            if is_running:
                action.write_text("idle")


@contextmanager
def _opened(device: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(device, flags | os.O_DIRECT | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _in_sync(devices: BlockDevices, control: Path) -> list[tuple[BlockDevice, int]]:
    """Return the members that an array reads from, the first first, and where their data begins."""
    members: list[tuple[int, BlockDevice, int]] = []
    for member in control.glob("dev-*"):
        slot, offset = _number(member / "slot"), _number(member / "offset")
        if slot is None or offset is None or "in_sync" not in _text(member / "state").split(","):
            continue
        name = member.name.removeprefix("dev-").replace("!", "/")
        members += ((slot, device, offset) for device in devices.named([name]))
    return [(device, offset) for _, device, offset in sorted(members, key=lambda one: one[0])]


def _used_by_loader(devices: BlockDevices, array: BlockDevice, partition: str) -> str | None:
    """Return the name of the member that the loader used, or None: it cannot be told.

    It is the one on the disk of the partition that the loader came from: an XBOOTLDR partition is
    one of the same disk.
    """
    came_from = [one for one in devices if one.partition == partition and not one.is_composed]
    disks = {name for one in came_from for name in devices.disks(one)}
    members = [one.name for one in devices.parents(array) if devices.disks(one) & disks]
    return members[0] if len(members) == 1 else None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isascii() and text.isdigit() else None


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8").strip()
    return ""
