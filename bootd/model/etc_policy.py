"""What an administrator, or an image, wants done where both changed a file of ``/etc``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_PATTERNS: Final = 1_000
_MAX_PATTERN: Final = 4_096


class EtcPolicy(StrEnum):
    """What becomes of a file that was changed on both sides, and not to the same."""

    KEEP_MINE = "keep-mine"
    """The machine's own stands; a conflict."""
    MERGE = "merge"
    """The lines of both where they merge cleanly; else the machine's own stands, a conflict."""
    TAKE_THEIRS = "take-theirs"
    """The image's stands, and a note says so."""
    KEEP_BOTH = "keep-both"
    """The machine's own stands, a conflict, and the image's is beside it as ``NAME.bootd-new``."""


Pattern = Annotated[str, StringConstraints(max_length=_MAX_PATTERN, pattern=r"^/etc/.")]
"""A path as reports print it. ``*`` and ``?`` stand for what has no slash in it, ``**`` for
anything, ``[...]`` for one of some characters."""

Policies = Annotated[
    dict[Pattern, Annotated[EtcPolicy, Field(strict=False)]], Field(max_length=MAX_PATTERNS)
]


OWN_PATHS: Final = (
    "/etc/machine-id",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/adjtime",
    "/etc/resolv.conf",
    "/etc/ld.so.cache",
    "/etc/.pwd.lock",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/etc/ssh/ssh_host_*",
    "/etc/ssl/certs/ssl-cert-snakeoil.pem",
    "/etc/ssl/private/ssl-cert-snakeoil.key",
    "/etc/iscsi/initiatorname.iscsi",
    "/etc/nvme/host*",
    "/etc/udev/hwdb.bin",
)
"""What each machine has of its own, or is made from other files: what stands here is right."""


class EtcRules(BaseModel):
    """``/usr/lib/bootd/etc.toml``: what an image says about its own ``/etc``."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)

    policy: Policies = Field(default_factory=dict)
    """By pattern."""
    security: list[Pattern] = Field(default_factory=list, max_length=MAX_PATTERNS)
    """Paths at which a conflict may leave the machine open to attack."""
    own: list[Pattern] = Field(default_factory=list, max_length=MAX_PATTERNS)
    """Paths that each machine has of its own, besides `OWN_PATHS`: what it changed there stands,
    and is no conflict."""
