"""Power cuts of a real machine: what its disk was told is on record, and any cut can be made again.

QEMU's ``blklogwrites`` writes down every write and flush as dm-log-writes does (Linux,
Documentation/admin-guide/device-mapper/log-writes.rst; the header is ``struct log_write_super``,
an entry ``struct log_write_entry``, each in a sector of its own). Killing QEMU alone would lose
nothing that the host's page cache has.

What was written before a flush ended is on the disk; of what came after it any part may be. So a
cut is a flush and a choice of the writes up to the next one. Disks are made of a base by clones
that share blocks, on an XFS made for it.
"""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootd.process import run

_MAGIC = 0x6A736677736872
_SUPER = struct.Struct("<QQQI")
"""Magic number, version, number of entries, sector size."""
_ENTRY = struct.Struct("<QQQQ")
"""Sector, number of sectors, flags, length of data."""
_FLUSH, _FUA, _DISCARD = 1, 2, 4
_SECTOR = 512
_POOL_BYTES = 64 << 30
_BEGINNING = "beginning"
_CLONE_SECONDS = 120.0


@dataclass(frozen=True)
class Write:
    """One request to the disk.

    Attributes:
        offset: where it writes, in bytes.
        size: how much; a discard has a size and no data.
        data: where its data is in the log, or None.
        flush: what was written before is durable once this is done.
    """

    offset: int
    size: int
    data: int | None
    flush: bool


@dataclass(frozen=True)
class Cut:
    """A power cut.

    Attributes:
        position: so many requests of the log came through for certain.
        extra: numbers of later ones that did, too.
    """

    position: int
    extra: tuple[int, ...] = ()


class WriteLog:
    """What a machine's disk was told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writes = list(_read(path))

    def position_at(self, log_size: int) -> int:
        """Return how many requests were in the log when its file had a size."""
        later = (
            number
            for number, write in enumerate(self.writes)
            if write.data is not None and write.data + write.size > log_size
        )
        return next(later, len(self.writes))

    def cuts(self, least: int, seed: int) -> list[Cut]:
        """Return a cut at every flush, and as many with a random part of what follows one.

        Args:
            least: how many there shall be.
            seed: of the choice.
        """
        choose = random.Random(seed)
        flushes = [number for number, write in enumerate(self.writes) if write.flush]
        spans = list(zip(flushes, [*flushes[1:], len(self.writes)], strict=True))
        torn = [span for span in spans if span[1] - span[0] > 1]
        chosen = choose.choices(torn, k=max(len(torn) // 2, least - len(spans)))
        found = [Cut(flush + 1) for flush in flushes]
        found += [_torn(choose, *span) for span in chosen]
        return sorted(found, key=lambda cut: cut.position)

    def apply(self, disk: Path, numbers: Sequence[int] | range) -> None:
        """Do requests to a disk image."""
        with self.path.open("rb") as log, disk.open("r+b") as stream:
            for number in numbers:
                write = self.writes[number]
                if write.data is None:
                    continue
                log.seek(write.data)
                stream.seek(write.offset)
                stream.write(log.read(write.size))


def _torn(choose: random.Random, flush: int, following: int) -> Cut:
    share = choose.random()
    extra = [number for number in range(flush + 1, following) if choose.random() < share]
    choose.shuffle(extra)
    return Cut(flush + 1, tuple(extra))


def _read(path: Path) -> Iterator[Write]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        magic, version, _, sector = _SUPER.unpack(stream.read(_SUPER.size))
        assert (magic, version) == (_MAGIC, 1), f"{path} is no log of writes"
        position = sector
        while position + _ENTRY.size <= size:
            stream.seek(position)
            where, sectors, flags, length = _ENTRY.unpack(stream.read(_ENTRY.size))
            if (where, sectors, flags, length) == (0, 0, 0, 0):
                break
            data = None if flags & _DISCARD or not sectors else position + sector
            span = sectors * sector
            yield Write(where * sector, span, data, bool(flags & (_FLUSH | _FUA)))
            position += sector + (0 if data is None else span)


class Disks:
    """Disk images that share what they have in common.

    Attributes:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, name: str) -> Path:
        """Return a disk as it was before anything was recorded."""
        return self.clone(self.folder / _BEGINNING, name)

    def clone(self, disk: Path, name: str) -> Path:
        """Return a copy that shares the blocks of another."""
        target = self.folder / name
        run(["cp", "--reflink=always", disk, target], timeout=_CLONE_SECONDS)
        return target


@contextmanager
def disks(folder: Path, image: Path) -> Iterator[Disks]:
    """Give a place for raw images of a QEMU disk that goes away with them."""
    pool, target = folder / "pool.img", folder / "pool"
    pool.touch()
    os.truncate(pool, _POOL_BYTES)
    run(["mkfs.xfs", "-q", "-m", "reflink=1", pool])
    target.mkdir()
    run(["mount", "-o", "loop,discard", pool, target])
    try:
        beginning = target / _BEGINNING
        run(["qemu-img", "convert", "-O", "raw", image, beginning], timeout=_CLONE_SECONDS)
        yield Disks(target)
    finally:
        run(["umount", target])
        pool.unlink()


@contextmanager
def partition(disk: Path, number: int) -> Iterator[Path]:
    """Give a partition of a disk image as a device."""
    told = run(["sfdisk", "--json", disk]).stdout
    found = json.loads(told)["partitiontable"]["partitions"][number - 1]
    where = (f"--offset={found['start'] * _SECTOR}", f"--sizelimit={found['size'] * _SECTOR}")
    device = run(["losetup", "--find", "--show", *where, disk]).stdout.decode().strip()
    try:
        yield Path(device)
    finally:
        run(["losetup", "--detach", device])
