"""What bootd writes down about deployments, its intent and the digests it will not try again.

The file formats carry ``format``, an integer; a reader refuses one it does not know. Keys a reader
does not know within a known format are kept out of the value, so that an older bootd, rolled back
to, can read what a newer one wrote.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from bootd.model.acceptance import Acceptance
from bootd.model.digest import Digest
from bootd.model.errors import InvalidArgumentError
from bootd.model.hash_algorithm import HASH_ALGORITHMS, SHA256, VERITY_HEX, HashAlgorithm
from bootd.model.readers import Guarded, GuardedLines, Shown
from bootd.startup import later

with later():
    from pydantic_core import core_schema  # only where pydantic already is

RECORD_FORMAT: Final = 1
_MAX_TEXT: Final = 4_096
_MAX_LIST: Final = 10_000
MAX_SOURCES: Final = 100
_ID: Final = re.compile(r"([0-9a-f]{16})\.([0-9]{1,9})", re.ASCII)


class DeploymentId(str):
    """``<first 16 hex digits of the manifest digest>.<serial>``, e.g. ``8f3a0b1c2d3e4f50.0``.

    The serial tells deployments of the same image apart.

    Raises:
        InvalidArgumentError: the text is not such an ID.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the text."""
        if _ID.fullmatch(text) is None:
            raise InvalidArgumentError(
                f"{text[:100]!r} is not a deployment ID",
                hint="'bootctl-py deployments' lists the IDs.",
            )
        return super().__new__(cls, text)

    @classmethod
    def compose(cls, digest: Digest, serial: int) -> Self:
        """Return the ID of the `serial`-th deployment of an image."""
        return cls(f"{digest.short}.{serial}")

    @property
    def serial(self) -> int:
        """The number after the dot."""
        return int(self.partition(".")[2])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(max_length=_MAX_TEXT)
        )


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = RECORD_FORMAT


class KernelFiles(BaseModel):
    """The kernel of a deployment: objects in the store, a folder on ``$BOOT``."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    version: str = Field(max_length=255)
    kernel_object: str = Field(pattern=VERITY_HEX)
    """fs-verity digest of ``vmlinuz``, which is its object's name."""
    initramfs_object: str = Field(pattern=VERITY_HEX)
    kernel_size: int = Field(ge=0)
    initramfs_size: int = Field(ge=0)
    devicetree_object: str | None = Field(default=None, pattern=VERITY_HEX)
    """Of the board's devicetree, where the image brings one for it."""
    devicetree_size: int = Field(default=0, ge=0)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 over the object digests: the folder name under ``$BOOT/bootd``."""

    @property
    def size(self) -> int:
        """The bytes of all its files."""
        return self.kernel_size + self.initramfs_size + self.devicetree_size


class ArgumentOrigin(StrEnum):
    """Where a kernel argument comes from that no file of the image asks for."""

    SETTINGS = "bootd.toml"
    """The key ``kernel_arguments``."""
    BOOTD = "bootd"
    """It is added where nobody says otherwise."""
    INSTALLER = "installer"
    """The installation."""
    VERB = "kargs"
    """``bootctl-py kargs``, or the method behind it."""
    ENTRY = "boot entry"
    """Somebody wrote it into the boot entry."""
    UNKNOWN = "unknown"
    """An older bootd did not write it down."""


class ArgumentChange(BaseModel):
    """How a person or a program changed kernel arguments that no boot entry has yet.

    The change is kept, and not only its result, because it has to hold for another image that is
    staged instead, and beside edits of the boot entry that are made until the shutdown.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    before: list[str] = Field(max_length=_MAX_LIST)
    after: list[str] = Field(max_length=_MAX_LIST)
    sources: dict[str, list[str]] = Field(default_factory=dict, max_length=MAX_SOURCES)
    """All of `after` that programs own, by their names."""


class GivenUpEntry(BaseModel):
    """A boot entry that is not on ``$BOOT`` any more."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    serial: int = Field(ge=0)
    """Its place in the boot order: the highest was the newest."""
    name: str = Field(max_length=255)
    text: str = Field(max_length=65_536)


class DeploymentRecord(_Record):
    """``deployments/<id>/deployment.json``: what its entry is made from, and `pinned`."""

    id: DeploymentId
    image: Shown
    """The reference as it was asked for."""
    taken_from: Shown | None = None
    """Where the image came from instead, for this one time; None: from there."""
    digest: Digest
    """The manifest's digest."""
    version: Shown = ""
    """``org.opencontainers.image.version``, or empty."""
    released: datetime | None = None
    """When the image was built, by its own word; None: it does not say, or an older bootd did not
    write it down."""
    expires: datetime | None = None
    """By when there will be a newer release, by the image's own word; None: it does not say."""
    accepted: Acceptance | None = None
    """What the policy for images said of it; None: an older bootd did not write it down."""
    created: datetime
    """When it was staged, UTC."""
    kernel: KernelFiles
    image_arguments: list[str] = Field(default_factory=list, max_length=_MAX_LIST)
    """What the image's own ``kargs.d`` and the settings asked for: base of the next three-way
    merge."""
    configured_arguments: list[str] | None = Field(default=None, max_length=_MAX_LIST)
    """What the settings asked for, of those; None: an older bootd did not write it down."""
    refused_arguments: list[str] = Field(default_factory=list, max_length=_MAX_LIST)
    """What the image asked for and an image may not say: such a boot might not fall back."""
    kernel_arguments: list[str] = Field(default_factory=list, max_length=_MAX_LIST)
    """What its boot entry gets besides ``bootd=<id>``."""
    argument_change: ArgumentChange | None = None
    """What was changed by hand since it was staged, or is carried over from what was staged."""
    argument_sources: dict[str, list[str]] = Field(default_factory=dict, max_length=MAX_SOURCES)
    """Those of `kernel_arguments` that programs own, by their names; its entry says so, too. A
    program that owns none any more is named with an empty list."""
    argument_origins: dict[str, str] = Field(default_factory=dict, max_length=_MAX_LIST)
    """Who brought an argument: the path of the image's file, or an `ArgumentOrigin`."""
    erofs: str = Field(pattern=VERITY_HEX)
    """fs-verity digest of ``root.erofs``."""
    accounts: str = Field(default="", max_length=64)
    """A digest of the users and groups that the owners in ``root.erofs`` follow."""
    mapped_files: int = Field(default=0, ge=0)
    """How many files have another owner or group there than in the image, by the numbers here."""
    ownerless_files: int = Field(default=0, ge=0)
    """How many of them are root's alone, because their owner is nobody here."""
    sealed: bool = False
    """Whether the kernel guards all its files, and its entry demands that."""
    pinned: bool = False
    given_up: GivenUpEntry | None = None
    """The boot entry that it had until ``$BOOT`` needed the room of its kernel; it had proved
    itself. It means nothing while there is an entry."""


class AwaitedBoot(BaseModel):
    """A deployment that was made to boot next, until it has booted."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    deployment: DeploymentId
    since: str = Field(max_length=_MAX_TEXT)
    """The ``boot_id`` of the boot in which it was made so: it is to come with another one."""
    override: str = Field(default="", max_length=_MAX_TEXT)
    """What overrode the boot order then; empty: nothing did."""
    postponed: bool = False
    """That was for one boot only, and this one is to come after it."""
    missed: str | None = Field(default=None, max_length=_MAX_TEXT)
    """Why another one booted, as far as known; None: the boot has not come yet."""
    by_hand: bool = False
    """A person made it so, by a rollback or ahead of the shutdown: when the machine restarts is
    for that person to say."""


class Intent(_Record):
    """``intent.json``: what the machine wants to be on, and whether it is staged."""

    image: str | None = Field(default=None, max_length=_MAX_TEXT)
    """The reference to follow, set by Switch; None: the configured one."""
    staged: DeploymentId | None = None
    """The deployment that the next shutdown makes bootable."""
    finalize_failure: Guarded | None = None
    """What went wrong at the last shutdown; news until the next success."""
    held_by: Shown | None = None
    """Who holds updates, with the reason; None: nobody."""
    held_until: AwareDatetime | None = None
    """When the hold is over, without being taken off; None: it has no end."""
    staged_by_hand: bool = False
    """A person asked for what is staged; a run that nobody asked for keeps it."""
    asked_for: DeploymentId | None = None
    """What is staged and boots in spite of a hold: somebody asked for it after that was placed."""
    replaced: Shown | None = None
    """What a person had staged, and an automatic run replaced by what is staged now, in words."""
    awaited: AwaitedBoot | None = None
    """What the last shutdown, or a rollback, made boot next; None: it booted, or nothing was."""

    def hold_at(self, now: datetime) -> str | None:
        """Return who holds updates at a time; None: nobody does.

        A hold that is over stays written down, so that a clock that jumps lifts none for good.
        """
        is_over = self.held_until is not None and self.held_until <= now
        return None if is_over else self.held_by

    def is_held_back(self, now: datetime) -> bool:
        """Return whether what is staged does not boot at a shutdown, because updates are held."""
        return self.hold_at(now) is not None and self.asked_for != self.staged


class Denial(BaseModel):
    """One digest that failed on this machine."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    digest: Digest
    cause: Shown
    when: datetime
    evidence: GuardedLines = ""


class DeniedDigests(_Record):
    """``denied.json``: bad digests, outside ``/etc`` and any deployment.

    Source: docs/decisions/0007-deny-list-outside-etc.md.
    """

    denied: list[Denial] = Field(default_factory=list, max_length=_MAX_LIST)

    def find(self, digest: Digest) -> Denial | None:
        """Return the denial of a digest, or None."""
        return next((denial for denial in self.denied if denial.digest == digest), None)


class StagedMarker(_Record):
    """``/run/bootd/staged.json``: this boot's staged deployment."""

    deployment: DeploymentId


NEW_COMPOSEFS: Final = 1
"""The version of a new store's images: what ``mkcomposefs --min-version=1`` writes."""


class StoreFormat(BaseModel):
    """``format.json``: the layout version and the features a reader must know."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    version: int = Field(default=1, ge=1)
    incompatible: list[str] = Field(default_factory=list, max_length=1_000)
    """Features without which the store must not even be read. `hash_feature` is one."""
    read_only_compatible: list[str] = Field(default_factory=list, max_length=1_000)
    """Features without which the store must not be changed."""
    installation: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    """A random ID, by which this installation's boot entries and kernels are told from those of
    another one on the same ``$BOOT``; None: an older bootd made the store, and gave it none."""
    composefs: int = Field(default=0, ge=0, le=1)
    """The least version of composefs's format that the EROFS images of this store are called. One
    that an older bootd made has 0: an image that is composed again has its digest again."""

    @property
    def hash_algorithm(self) -> HashAlgorithm:
        """By which the store names objects and images, chosen when it was made."""
        others = (one for name, one in _HASH_FEATURES.items() if name in self.incompatible)
        return next(others, SHA256)

    @property
    def unknown(self) -> list[str]:
        """Those of `incompatible` that this bootd does not know."""
        return [name for name in self.incompatible if name not in _HASH_FEATURES]


def hash_feature(algorithm: HashAlgorithm) -> list[str]:
    """Return what `StoreFormat.incompatible` has for a hash; nothing for what all bootd know."""
    return [name for name, one in _HASH_FEATURES.items() if one is algorithm]


_HASH_FEATURES: Final = {
    f"fsverity-{one.name}": one for one in HASH_ALGORITHMS.values() if one is not SHA256
}
"""A bootd without the feature would look for objects under other names."""
