"""Where on a FAT file system a boot loader may have written: names, tables, and small files.

A loader renames a boot entry and writes a few bytes of a random seed. That changes folders, perhaps
the table of clusters, and files of that size; never a kernel. To read these places is a matter of a
few megabytes, to read a whole boot partition may be one of half a minute.

Source: Microsoft, "FAT: General Overview of On-Disk Format", version 1.03, whose names stand in
parentheses.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

SMALL: Final = 1 << 20
"""Bytes of a file that a loader may have written."""

_BOOT_SECTOR: Final = struct.Struct("<11xHBHBHHxH8xII4xI")
"""BytsPerSec, SecPerClus, RsvdSecCnt, NumFATs, RootEntCnt, TotSec16, FATSz16, TotSec32, FATSz32 and
RootClus; the last two are other fields where there is a FATSz16."""
_SIGNATURE: Final = b"\x55\xaa"
_ENTRY_BYTES: Final = 32
_END, _DELETED = 0x00, 0xE5
"""What the first byte of a folder's entry says (DIR_Name[0])."""
_LONG_NAME: Final = 0x0F
_LABEL, _FOLDER = 0x08, 0x10
_FAT12_CLUSTERS, _FAT16_CLUSTERS = 4_085, 65_525
"""From so many clusters on it is not FAT12, and not FAT16, any more."""
_FIRST: Final = 2
"""The number of the first cluster."""
_MAX_TABLE: Final = 64 << 20
_MAX_FOLDERS: Final = 20_000

Read = Callable[[int, int], bytes]
"""Returns so many bytes from a place."""


@dataclass(frozen=True, slots=True)
class _Fat:
    """A file system's geometry, in bytes, and its table of clusters."""

    cluster: int
    data: int
    root: int
    root_cluster: int
    next: tuple[int, ...]

    def chain(self, first: int) -> Iterator[int]:
        """Yield where each cluster of a file begins.

        Raises:
            ValueError: the chain leads out of the table or in a circle.
        """
        number, steps = first, 0
        while _FIRST <= number < len(self.next):
            yield self.data + (number - _FIRST) * self.cluster
            number, steps = self.next[number], steps + 1
            if steps > len(self.next):
                raise ValueError("a chain of clusters has no end")


def places_of_loaders(read: Read) -> list[tuple[int, int]]:
    """Return where a loader may have written, as places and lengths in bytes, in order.

    Raises:
        ValueError: it is no FAT file system, or a damaged one.
    """
    try:
        return _places(read)
    except (IndexError, struct.error) as error:
        raise ValueError(f"the file system ends too early: {error}") from error


def _places(read: Read) -> list[tuple[int, int]]:
    fat = _opened(read)
    places = [(0, fat.data)]
    waiting = [fat.root_cluster] if fat.root_cluster else []
    folders = 0
    if not fat.root_cluster:
        waiting += _listed(read(fat.root, fat.data - fat.root), fat, places)
    while waiting:
        folders += 1
        if folders > _MAX_FOLDERS:
            raise ValueError(f"there are more than {_MAX_FOLDERS} folders")
        clusters = list(fat.chain(waiting.pop()))
        places += ((place, fat.cluster) for place in clusters)
        data = b"".join(read(place, fat.cluster) for place in clusters)
        waiting += _listed(data, fat, places)
    return sorted(places)


def _opened(read: Read) -> _Fat:
    sector = read(0, 512)
    if sector[510:512] != _SIGNATURE:
        raise ValueError("there is no FAT file system")
    each, per_cluster, reserved, tables, entries, few, short, many, long, root_cluster = (
        _BOOT_SECTOR.unpack_from(sector)
    )
    size = short or long
    if each not in (512, 1_024, 2_048, 4_096) or not per_cluster or not tables or not size:
        raise ValueError("there is no FAT file system")
    root = (reserved + tables * size) * each
    data = root + -(-entries * _ENTRY_BYTES // each) * each
    clusters = ((few or many) - data // each) // per_cluster
    if clusters < 1 or size * each > _MAX_TABLE:
        raise ValueError("the sizes of the file system cannot be")
    if not read((few or many) * each - 1, 1):
        raise ValueError("the file system is cut off")
    table = _table(read(reserved * each, size * each), clusters)
    big = clusters >= _FAT16_CLUSTERS
    return _Fat(each * per_cluster, data, root, root_cluster if big else 0, table)


def _table(data: bytes, clusters: int) -> tuple[int, ...]:
    """Return what follows each cluster; what ends a chain is more than the number of any."""
    count = clusters + _FIRST
    if clusters >= _FAT16_CLUSTERS:
        entries = struct.unpack_from(f"<{min(count, len(data) // 4)}I", data)
        return tuple(one & 0x0FFFFFFF for one in entries)
    if clusters >= _FAT12_CLUSTERS:
        return struct.unpack_from(f"<{min(count, len(data) // 2)}H", data)
    pairs = (data[place : place + 3] for place in range(0, len(data) - 2, 3))
    numbers = [int.from_bytes(pair, "little") for pair in pairs]
    return tuple(half for pair in numbers for half in (pair & 0xFFF, pair >> 12))[:count]


def _listed(data: bytes, fat: _Fat, places: list[tuple[int, int]]) -> Iterator[int]:
    """Yield the first cluster of each folder in a folder, and add the places of small files."""
    for start in range(0, len(data), _ENTRY_BYTES):
        entry = data[start : start + _ENTRY_BYTES]
        if entry[0] == _END:
            return
        kind = entry[11]
        if entry[0] in (_DELETED, ord(".")) or kind & _LONG_NAME == _LONG_NAME or kind & _LABEL:
            continue
        high, low, size = struct.unpack_from("<H4xHI", entry, 20)
        first = low | (high << 16 if fat.root_cluster else 0)
        if kind & _FOLDER:
            yield first
        elif size <= SMALL:
            places += ((place, fat.cluster) for place in fat.chain(first))
