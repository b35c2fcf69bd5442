"""The policy that an image brings, and what of it says labels.

``/etc/selinux/config`` names it; its files are below ``/etc/selinux/<name>/contexts/files``.
Sources: libselinux, src/selinux_config.c and src/label_file.c; composefs-rs, which labels by the
same files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from bootd.store.selinux.index import LabelIndex, Place
from bootd.store.selinux.specifications import (
    SpecificationError,
    parse_specifications,
    parse_substitutions,
)

CONFIG: Final = "selinux/config"
"""Paths are below ``/etc``."""
SPECIFICATIONS: Final = ("file_contexts", "file_contexts.homedirs", "file_contexts.local")
"""What is in a later one counts more."""
SUBSTITUTIONS: Final = ("file_contexts.subs", "file_contexts.subs_dist")
"""A path goes through the one, and then through the other."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_DEFAULT_NAME: Final = "targeted"
"""libselinux's, where the configuration names none."""
_MODES: Final = ("enforcing", "permissive", "disabled")

Reader = Callable[[str], bytes | None]
"""Returns what a file below ``/etc`` holds, or None where there is no such file. Raises
`SpecificationError` if it cannot be read."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What ``/etc/selinux/config`` says.

    Attributes:
        mode: ``enforcing``, ``permissive`` or ``disabled``; empty where it says nothing known.
        name: of the policy.
    """

    mode: str
    name: str

    @property
    def is_enforcing(self) -> bool:
        """Whether what has no label stops the machine."""
        return self.mode == "enforcing"


class Policy:
    """Says which label a path gets.

    Args:
        index: the specifications.
        substitutions: which folder stands for which other one, in the order of `SUBSTITUTIONS`.
    """

    def __init__(
        self, index: LabelIndex, substitutions: tuple[list[tuple[bytes, bytes]], ...] = ()
    ) -> None:
        self._index = index
        self._substitutions = substitutions
        self._special = {
            source.rpartition(b"/")[0] for pairs in substitutions for source, _ in pairs
        }
        """Folders that hold something that stands for something elsewhere."""

    def folder(self, path: bytes) -> Place:
        """Return what is known of a folder, absolute and without a slash at its end.

        Raises:
            SpecificationError: see `LabelIndex`; so do all the others.
        """
        return self._index.find(self._substituted(path))

    def enter(self, path: bytes, place: Place, name: bytes) -> Place:
        """Return what is known of a folder in a folder of which `place` is known."""
        below = path + b"/" + name
        if self._is_special(path) and self._substituted(below) != place.path + b"/" + name:
            return self.folder(below)
        return self._index.enter(place, name)

    def check(self) -> None:
        """Look at every expression, also those that no path has come to."""
        self._index.check()

    def labels_in(self, path: bytes, place: Place) -> Callable[[bytes, int], bytes | None]:
        """Return what tells the label of a name in a folder, given its kind; None: it has none."""
        if self._is_special(path):
            return lambda name, kind: self.label(path + b"/" + name, kind)
        return partial(self._index.label, place)

    def label(self, path: bytes, kind: int) -> bytes | None:
        """Return the label of a path, ``/`` for the root, given its kind; None: it has none."""
        path = self._substituted(path).rstrip(b"/")
        if not path:
            return self._index.root_label(kind)
        folder, _, name = path.rpartition(b"/")
        return self._index.label(self._index.find(folder), name, kind)

    def _is_special(self, folder: bytes) -> bool:
        return folder in self._special or (
            bool(self._substitutions) and _replaced(folder, self._substitutions[0]) in self._special
        )

    def _substituted(self, path: bytes) -> bytes:
        """Return the path whose label a path gets."""
        for pairs in self._substitutions:
            path = _replaced(path, pairs)
        return path


def _replaced(path: bytes, pairs: list[tuple[bytes, bytes]]) -> bytes:
    for source, target in pairs:
        if path.startswith(source) and path[len(source) : len(source) + 1] in (b"", b"/"):
            return target.rstrip(b"/") + path[len(source) :] or b"/"
    return path


def read_configuration(read: Reader) -> Configuration | None:
    """Return what the configuration says; None: there is none.

    Raises:
        SpecificationError: it cannot be read.
    """
    data = read(CONFIG)
    if data is None:
        return None
    mode, name = "", _DEFAULT_NAME
    for line in data.decode(errors="replace").splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals:
            continue
        if key == "SELINUX" and not mode:
            mode = next((one for one in _MODES if value.strip().lower().startswith(one)), "")
        elif key.upper() == "SELINUXTYPE":
            name = value.strip()
    return Configuration(mode, name)


def read_policy(read: Reader, name: str) -> Policy:
    """Return the policy of a name.

    Raises:
        SpecificationError: nothing can be called so, it has no ``file_contexts``, or one of its
            files cannot be used.
    """
    if _NAME.fullmatch(name) is None:
        raise SpecificationError(f"/etc/{CONFIG} names the policy {name[:100]!r}")
    folder = f"selinux/{name}/contexts/files"
    files = {one: read(f"{folder}/{one}") for one in (*SPECIFICATIONS, *SUBSTITUTIONS)}
    if files[SPECIFICATIONS[0]] is None:
        raise SpecificationError(f"there is no /etc/{folder}/{SPECIFICATIONS[0]}")
    specifications = [
        one for file in SPECIFICATIONS for one in parse_specifications(file, files[file] or b"")
    ]
    if not specifications:
        raise SpecificationError(f"/etc/{folder}/{SPECIFICATIONS[0]} specifies nothing")
    substitutions = tuple(parse_substitutions(file, files[file] or b"") for file in SUBSTITUTIONS)
    return Policy(LabelIndex(specifications), substitutions)
