"""What is known of ``$BOOT`` as a whole, beside where it is mounted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bootd.model.errors import NoBootPartitionError


@dataclass(frozen=True, slots=True)
class BootMirror:
    """Another partition that is kept like ``$BOOT``: what people call it, and where it is."""

    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class BootPartition:
    """What is known of the partition that ``$BOOT`` is.

    Attributes:
        name: what people call it, a device say; "": its folder says it.
        refusal: why no partition is known to be it, so that nothing may be written.
        remarks: what is wrong with it though it is in use, a sentence each.
        mirrors: others that are kept like it.
    """

    name: str = ""
    refusal: NoBootPartitionError | None = None
    remarks: tuple[str, ...] = ()
    mirrors: tuple[BootMirror, ...] = ()
