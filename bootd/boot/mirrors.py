"""Other EFI system partitions that are kept like ``$BOOT``, so that either disk may fail.

Whatever changes boot entries or kernels is done on the mirrors first and on the partition that the
machine was started from last: at every cut each of them boots a complete deployment. A mirror that
takes no change is told of and holds nothing up. What differs afterwards, be it that the loader
counted a try on one of them only, is made alike by `make_alike`: after a start, and by fsck.

Each has its own lock, and what other systems have on it is left alone, as on ``$BOOT``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from bootd.model.boot.partition import BootMirror, BootPartition
from bootd.model.errors import BootdError
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")


def mirrors_first(
    write: Callable[Concatenate[Sysroot, _P], _R],
) -> Callable[Concatenate[Sysroot, _P], _R]:
    """Have a change of ``$BOOT`` done on its mirrors, too, before it is done there."""

    @wraps(write)
    def write_all(sysroot: Sysroot, /, *arguments: _P.args, **more: _P.kwargs) -> _R:
        for mirror in sysroot.partition.mirrors:
            moved = [_on_mirror(sysroot, mirror, value) for value in arguments]
            try:
                write(mirrored(sysroot, mirror), *moved, **more)  # type: ignore[arg-type]
            except BootdError as error:
                _log.warning("%s is behind the boot partition: %s", mirror.name, error.message)
        return write(sysroot, *arguments, **more)

    return write_all


def mirrored(sysroot: Sysroot, mirror: BootMirror) -> Sysroot:
    """Return the machine as if a mirror were its ``$BOOT``."""
    return replace(sysroot, boot=mirror.folder, partition=BootPartition(mirror.name))


def _on_mirror(sysroot: Sysroot, mirror: BootMirror, value: object) -> object:
    if isinstance(value, Path) and value.is_relative_to(sysroot.boot):
        return mirror.folder / value.relative_to(sysroot.boot)
    return value
