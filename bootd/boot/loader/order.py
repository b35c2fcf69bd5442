"""In which order a boot loader shows the entries, and which of them it tries first.

Sources: UAPI.1 Boot Loader Specification, "Sorting"; UAPI.10 Version Format Specification,
"Version Comparison". Where the text of UAPI.10 and ``systemd-analyze compare-versions`` disagree (a
tilde against the end of a string, a caret against a dot, no digits against a zero), systemd's
answer is taken: it is what boots.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any, Final, Protocol, TypeVar

from bootd.boot.entry import SUFFIX, text_lines

_IGNORED: Final = re.compile(r"[^A-Za-z0-9.^~-]+")
_DIGITS: Final = re.compile(r"[0-9]*")
_LETTERS: Final = re.compile(r"[A-Za-z]*")
_COUNTER: Final = re.compile(r"\+([0-9]{1,9})(?:-[0-9]{1,9})?", re.ASCII)
_NUMERALS: Final = frozenset("0123456789")
_TILDE: Final = "~"
_SEPARATORS: Final = (_TILDE, "-", "^", ".")
"""In the order they are looked for; a string with one sorts lower than a string with none."""


class Sortable(Protocol):
    """What the order is made from; a key that is absent is None."""

    @property
    def file_name(self) -> str:
        """The name in ``loader/entries``, with the counter."""

    @property
    def sort_key(self) -> str | None:
        """The key ``sort-key``."""

    @property
    def machine_id(self) -> str | None:
        """The key ``machine-id``."""

    @property
    def version(self) -> str | None:
        """The key ``version``."""

    @property
    def tries_left(self) -> int | None:
        """The counter in the name; 0: bad; None: not counted."""


_Entry = TypeVar("_Entry", bound=Sortable)


@dataclass(frozen=True, slots=True)
class LoaderEntry:
    """Anybody's Type #1 entry, as far as its place in the order goes."""

    file_name: str
    sort_key: str | None = None
    machine_id: str | None = None
    version: str | None = None

    @property
    def tries_left(self) -> int | None:
        """Boots left by the counter in the name, or None."""
        return _split_counter(self.file_name)[1]


def loader_entry(name: str, data: bytes) -> LoaderEntry:
    """Read anybody's entry as leniently as a boot loader does."""
    values = dict(text_lines(data))
    return LoaderEntry(name, *(values.get(key) for key in ("sort-key", "machine-id", "version")))


def boot_order(entries: Iterable[_Entry]) -> list[_Entry]:
    """Return the entries in the order of the boot menu: what boots next first, bad ones last."""
    return sorted(entries, key=cmp_to_key(_compare_entries))


def identifier_of(file_name: str) -> str:
    """Return the name of an entry without its counter: the same for all its life."""
    return _split_counter(file_name)[0] + SUFFIX


def compare_versions(first: str, second: str) -> int:
    """Return -1, 0 or 1 as the first version is older than, equal to or newer than the second."""
    while True:
        first, second = _skip_ignored(first), _skip_ignored(second)
        for separator in _SEPARATORS:
            in_first, in_second = first.startswith(separator), second.startswith(separator)
            if in_first != in_second:
                return _sign(in_second, in_first)
            if in_first:
                first, second = first[1:], second[1:]
            if separator == _TILDE and not (first and second):
                return _sign(len(first), len(second))
        is_number = first[:1] in _NUMERALS or second[:1] in _NUMERALS
        left, first = _split_leading(_DIGITS if is_number else _LETTERS, first)
        right, second = _split_leading(_DIGITS if is_number else _LETTERS, second)
        if result := _sign(_number(left), _number(right)) if is_number else _sign(left, right):
            return result


def _number(digits: str) -> tuple[bool, int, str]:
    """Order digits as a number of any length; no digits at all are less than a zero."""
    significant = digits.lstrip("0")
    return bool(digits), len(significant), significant


def _skip_ignored(text: str) -> str:
    return _split_leading(_IGNORED, text)[1]


def _split_leading(pattern: re.Pattern[str], text: str) -> tuple[str, str]:
    match = pattern.match(text)
    end = match.end() if match else 0
    return text[:end], text[end:]


def _compare_entries(first: Sortable, second: Sortable) -> int:
    """Compare by UAPI.1; negative: `first` is nearer the top of the menu."""
    keys = _sign(first.tries_left == 0, second.tries_left == 0)
    keys = keys or _sign(first.sort_key is None, second.sort_key is None)
    if first.sort_key is not None and second.sort_key is not None:
        keys = (
            keys
            or _sign(first.sort_key, second.sort_key)
            or _sign(first.machine_id or "", second.machine_id or "")
            or compare_versions(second.version or "", first.version or "")
        )
    names = _split_counter(second.file_name)[0], _split_counter(first.file_name)[0]
    return keys or compare_versions(*names)


def _split_counter(file_name: str) -> tuple[str, int | None]:
    """Return a name without counter and suffix, and the tries left."""
    stem = file_name[: -len(SUFFIX)] if file_name.lower().endswith(SUFFIX) else file_name
    base, plus, _ = stem.rpartition("+")
    match = _COUNTER.fullmatch(stem, len(base)) if plus else None
    return (stem, None) if match is None else (base, int(match[1]))


def _sign(first: Any, second: Any) -> int:
    return int(first > second) - int(first < second)
