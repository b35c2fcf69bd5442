"""Where the contents of a layer's files are, and which they are. Pure.

Sixty bytes a file instead of an object each: a layer may have a hundred thousand.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from typing import Any, Final

from bootd.model.errors import InvalidLayerError

ENTRIES_LIMIT: Final = 1_000_000
"""Most entries of a table, pieces of files included."""
DIGEST_SIZE: Final = 32

_SHA256: Final = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)


class FileRows:
    """One row a regular file that is not empty, in the order of the table.

    Attributes:
        starts: where each one's compressed content begins in the blob.
        ends: where it ends.
        sizes: how many bytes it unpacks to.
    """

    def __init__(self) -> None:
        self.starts = array("q")
        self.ends = array("q")
        self.sizes = array("q")
        self._digests = bytearray()

    def __len__(self) -> int:
        return len(self.starts)

    def digest(self, row: int) -> bytes:
        """Return the SHA-256 of a file's content."""
        return bytes(self._digests[row * DIGEST_SIZE : (row + 1) * DIGEST_SIZE])

    def add(self, start: int, end: int, size: int, digest: bytes) -> None:
        """Add the next file."""
        self.starts.append(start)
        self.ends.append(end)
        self.sizes.append(size)
        self._digests += digest


def has_content(entry: dict[str, Any]) -> bool:
    """Return whether an entry of a table is a file with a row."""
    return entry.get("type") == "reg" and bool(entry.get("size"))


def file_rows(entries: Iterable[dict[str, Any]], data_end: int, unpacked_limit: int) -> FileRows:
    """Return the rows of a table.

    Args:
        entries: of the table.
        data_end: where in the blob the contents end; the table begins there at the earliest.
        unpacked_limit: most bytes all files may have together.

    Raises:
        InvalidLayerError: the rows overlap, leave the blob, are not in order or are too many.
    """
    rows = FileRows()
    count, total = 0, 0
    for entry in entries:
        count += 1
        if count > ENTRIES_LIMIT:
            raise InvalidLayerError(f"a layer's table has more than {ENTRIES_LIMIT} entries")
        if not has_content(entry):
            continue
        start = number(entry, "offset")
        if number(entry, "innerOffset"):
            raise InvalidLayerError("a layer's table puts several files into one compressed piece")
        size = number(entry, "size")
        total += size
        if total > unpacked_limit:
            raise InvalidLayerError(f"a layer's table tells of more than {unpacked_limit} bytes")
        rows.add(start, number(entry, "endOffset"), size, _sha256(entry))
    _check_order(rows, data_end)
    return rows


def number(entry: dict[str, Any], key: str) -> int:
    """Return a number of an entry; 0 where it is left out.

    Raises:
        InvalidLayerError: it is none, negative, or has more than 63 bits.
    """
    value = entry.get(key, 0)
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise InvalidLayerError(f"a layer's table has the impossible {key} {str(value)[:50]!r}")
    return value


def _sha256(entry: dict[str, Any]) -> bytes:
    match = _SHA256.fullmatch(str(entry.get("digest", "")))
    if match is None:
        raise InvalidLayerError("a layer's table has a file without a sha256 digest")
    return bytes.fromhex(match[1])


def _check_order(rows: FileRows, data_end: int) -> None:
    before = 0
    for start, end in zip(rows.starts, rows.ends, strict=True):
        if not before <= start < end <= data_end:
            raise InvalidLayerError(
                f"a layer's table has a file at {start} to {end}, before {before} or beyond "
                f"{data_end}"
            )
        before = end
