"""The one sentence that says that ``$BOOT`` is full: numbers, what holds the room, what helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bootd.boot.kernels.kernel import mebibytes, needed_boot_space, needed_entry_space
from bootd.boot.usage import measure_room, other_holders
from bootd.model.boot.usage import BootFolder, BootOwner
from bootd.model.deployment import DeploymentId, KernelFiles
from bootd.model.errors import BootPartitionFullError
from bootd.operations.boot.usage import kernel_folders
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey

_SHOWN: Final = 6
_LEAST: Final = 64 << 10
"""Bytes of what is worth to be named."""
_LOOK: Final = "'bootctl-py cleanup --boot' lists all that is there."


class Held(StrEnum):
    """Why a deployment's kernel is not given up for another one."""

    RUNNING = "running"
    NEXT = "boots next"
    FALLBACK = "what a trial falls back to"
    PINNED = "pinned"
    WANTED = "to be booted"


@dataclass(frozen=True, slots=True)
class Shortage:
    """What is missing, and what would help.

    Attributes:
        kernel: what does not fit; None: not even a boot entry does.
        held: what is not given up for it, and why.
        could_free: bytes that would be free besides, with all else given up.
        way_out: what keeps it from fitting, and can be changed; None: nothing that is known.
        said: what the file system said, if it was it that had no room.
    """

    kernel: KernelFiles | None
    held: Mapping[DeploymentId, Held]
    could_free: int = 0
    way_out: Held | None = None
    said: str = ""


def needed_space(host: Host, kernel: KernelFiles | None) -> int:
    """Return the bytes on ``$BOOT`` for a kernel and its boot entry; None: for an entry alone."""
    entry = needed_entry_space(host.sysroot)
    return entry if kernel is None else max(entry, needed_boot_space(host.sysroot, kernel))


def refusal(host: Host, survey: Survey, shortage: Shortage) -> BootPartitionFullError:
    """Return the error for a kernel that does not fit on ``$BOOT``."""
    room = measure_room(host.sysroot)
    kernel, could = shortage.kernel, shortage.could_free
    what = "a boot entry" if kernel is None else f"kernel {kernel.version}"
    needed = mebibytes(needed_space(host, kernel))
    more = f", and {mebibytes(could)} more could be given up" if could else ""
    said = f" ({shortage.said})" if shortage.said else ""
    holders = _holders(host, survey, shortage.held) or ["the file system itself"]
    return BootPartitionFullError(
        f"{what} needs {needed} on the boot partition; {mebibytes(room.free)} of "
        f"{mebibytes(room.size)} are free{more}{said}. Held by {'; '.join(holders)}",
        hint=f"{_advice(shortage)} {_LOOK}",
    )


def _holders(host: Host, survey: Survey, held: Mapping[DeploymentId, Held]) -> list[str]:
    """Return what holds the room, each with its size, largest first."""
    keep = {record.kernel.digest for record in survey.records.values()}
    folders = kernel_folders(host, survey, keep)
    sized = [(one.bytes, _named(one, held)) for one in folders]
    sized += [(one.size, one.name) for one in other_holders(host.sysroot)]
    sized = sorted((pair for pair in sized if pair[0] >= _LEAST), key=lambda pair: -pair[0])
    shown = [f"{name}: {mebibytes(size)}" for size, name in sized[:_SHOWN]]
    rest = sized[_SHOWN:]
    if rest:
        shown.append(f"{len(rest)} more: {mebibytes(sum(size for size, _ in rest))}")
    return shown


def _named(folder: BootFolder, held: Mapping[DeploymentId, Held]) -> str:
    users = [f"{one} ({held[one]})" if one in held else one for one in folder.deployments]
    if users:
        return " and ".join(users)
    path = f"bootd/{folder.folder}"
    match folder.owner:
        case BootOwner.NEIGHBOUR:
            return f"another installation of bootd ({folder.installation or path})"
        case BootOwner.OTHER:
            return f"{path}, which is not bootd's"
        case BootOwner.NOBODY:
            return f"{path}, which nothing needs"
        case BootOwner.OWN:
            return f"{path}, for {' and '.join(folder.entries) or 'a deployment in the store'}"


def _advice(shortage: Shortage) -> str:
    match shortage.way_out:
        case Held.PINNED:
            [pinned, *_] = [key for key, why in shortage.held.items() if why is Held.PINNED]
            return (
                f"'bootctl-py unpin {pinned}' lets it be given up, and 'bootctl-py forget {pinned}'"
                " then drops it at once."
            )
        case Held.FALLBACK:
            return "Wait until the running deployment has proved itself, then try again."
        case Held.NEXT:
            return "Restart first ('bootctl-py apply'), then try again."
        case _:
            return "Remove files there that nobody needs, or use an image with a smaller initramfs."
