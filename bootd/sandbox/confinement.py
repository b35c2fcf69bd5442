"""What a process gives up, one measure after the other, and which of them this kernel has not.

A measure that the kernel does not have is left out, and told by `unconfined`: a machine with
an old kernel is upgraded all the same, and nobody has to guess what holds there.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Final

from bootd.sandbox import kernel, landlock
from bootd.sandbox.calls import ARCHITECTURES, filter_program

_LAST_CAPABILITY: Final = 63
_CAP_DAC_READ_SEARCH: Final = 1 << 2
"""Of linux/capability.h, as a bit."""
_SIZES: Final = Path("/proc/self/statm")

Measure = Callable[[], None]


def confine_reader(memory: int) -> list[str]:
    """Leave this process what it has open, and so much more memory; nothing else, for good.

    Args:
        memory: bytes beside those that it has already.

    Returns:
        The measures that the kernel does not have, in words.
    """
    return _taken(
        {
            "capabilities": lambda: _give_up_privileges(0),
            "memory limit": lambda: _limit_memory(memory),
            "Landlock": landlock.allow_nothing,
            "other limits": _limit_rest,
            "seccomp": _filter_calls,
        }
    )


def confine_writer(folders: Iterable[Path]) -> list[str]:
    """Leave this process nothing to write to but what is beneath some folders, for good.

    It keeps one capability, to read what belongs to others: images may lie in somebody's folder.

    Returns:
        The measures that the kernel does not have, in words.
    """
    return _taken(
        {
            "capabilities": lambda: _give_up_privileges(_CAP_DAC_READ_SEARCH),
            "Landlock": lambda: landlock.write_only_beneath(folders),
        }
    )


@cache
def unconfined() -> str | None:
    """Return in a sentence what this kernel lacks of all that is here; None: nothing."""
    machine = os.uname().machine
    version = kernel.landlock_version()
    missing = [] if version >= landlock.LEAST_FOR_WRITERS else ["Landlock of version 2"]
    if not version:
        missing = ["Landlock"]
    if machine not in ARCHITECTURES:
        missing.append(f"a list of the system calls of {machine}")
    elif not kernel.has_filters(ARCHITECTURES[machine].seccomp):
        missing.append("seccomp filters")
    if not _may_limit():
        missing.append("limit of memory")
    if not missing:
        return None
    lacking = " and no ".join(missing)
    return f"layers are imported by processes with fewer restrictions: there is no {lacking} here"


def _may_limit() -> bool:
    """Return whether this process may set limits, by setting one to what it is."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE))
    except (OSError, ValueError):
        return False
    return True


def _taken(measures: dict[str, Measure]) -> list[str]:
    missing = []
    for name, measure in measures.items():
        try:
            measure()
        except (OSError, ValueError, KeyError):
            missing.append(name)
    return missing


def _give_up_privileges(kept: int) -> None:
    kernel.forbid_new_privileges()
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            kernel.drop_from_bounding_set(capability)
        except OSError:
            # Whoever may not do that, as bootd.service, gains nothing by the set either: it takes
            # a program with capabilities, and those are ignored from now on.
            break
    kernel.give_up_capabilities(kept)


def _limit_memory(memory: int) -> None:
    mapped = int(_SIZES.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_AS, mapped + memory)


def _limit_rest() -> None:
    """Let nothing be opened, written to a file or started, not even what is not refused elsewhere.

    Root may start processes whatever the limit; what keeps it from that is the filter.
    """
    for which in (
        resource.RLIMIT_CORE,
        resource.RLIMIT_FSIZE,
        resource.RLIMIT_NPROC,
        resource.RLIMIT_NOFILE,
    ):
        _limit(which, 0)


def _limit(which: int, most: int) -> None:
    _, hard = resource.getrlimit(which)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (bound, bound))


def _filter_calls() -> None:
    architecture = ARCHITECTURES[os.uname().machine]
    kernel.set_filter(architecture.seccomp, filter_program(architecture))
