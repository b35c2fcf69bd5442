"""What an administrator can set: the keys of ``bootd.toml``, with their bounds and defaults.

Every key has a default that works; an empty ``/etc`` is fine (UAPI.6).
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    model_validator,
)

from bootd.model.etc.derived import Pattern
from bootd.model.etc.policy import MAX_PATTERNS, EtcRules
from bootd.model.registry.proxy import checked_proxy
from bootd.model.registry.userinfo import has_userinfo
from bootd.model.window import parse_window

_MAX_TEXT: Final = 4_096
_MAX_ARGUMENTS: Final = 1_000
_MAX_PARTITIONS: Final = 8
_MOST_DEFAULT_LAYERS: Final = 4
_MAX_HOSTS: Final = 1_000
_MAX_HOST: Final = 300
_MAX_WINDOWS: Final = 100
_HOUR: Final = 3_600


class Automatic(StrEnum):
    """How far the timer goes by itself."""

    OFF = "off"
    """It does nothing."""
    CHECK = "check"
    """It asks the registry, so that ``status`` tells of an update."""
    STAGE = "stage"
    """It also stages the update; the next shutdown makes it bootable."""
    APPLY = "apply"
    """It also reboots into it."""


class Integrity(StrEnum):
    """What the kernel makes sure of while a deployment runs."""

    OFF = "off"
    """Nothing: a damaged disk is found by ``fsck``."""
    VERITY = "verity"
    """It opens no file whose content is not the image's (fs-verity)."""


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("it is not an absolute path")
    return path


def _default_layers() -> int:
    return min(_MOST_DEFAULT_LAYERS, os.cpu_count() or 1)


_Argument = Annotated[
    str,
    # One word: printable ASCII, and spaces only between double quotes.
    StringConstraints(max_length=_MAX_TEXT, pattern=r'^(?:[!#-~]|"[ !#-~]*")+$'),
]


class EtcSettings(EtcRules):
    """The table ``etc``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    keep_days: int = Field(default=30, ge=0, le=3_650)
    """How many days copies are kept: of edits that went with an old deployment, and of what a
    reset, a resolution or a rollback replaced."""
    keep_mib: int = Field(default=256, ge=0, le=1_048_576)
    """How many MiB all those copies may take; beyond that the oldest go."""
    drift_ignore: list[Pattern] = Field(
        default_factory=lambda: ["/etc/**.bootd-new"], max_length=MAX_PATTERNS
    )
    """Paths that the digest of this machine's own changes leaves out, besides those that are each
    machine's own."""


def _without_userinfo(reference: str) -> str:
    if has_userinfo(reference):
        raise ValueError("it holds a user name; credentials belong into /etc/ostree/auth.json")
    return reference


def _proxy(text: str) -> str:
    return checked_proxy(text) if text else text


_File = Annotated[Path, Strict(strict=False), AfterValidator(_absolute)]


class RegistriesSettings(BaseModel):
    """The table ``registries``. Times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    proxy: Annotated[str, AfterValidator(_proxy)] | None = Field(
        default=None, max_length=_MAX_TEXT, repr=False
    )
    """The URL of the proxy through which registries are asked; empty: none, whatever the
    environment says; None: the environment's."""
    no_proxy: list[Annotated[str, StringConstraints(min_length=1, max_length=_MAX_HOST)]] | None = (
        Field(default=None, max_length=_MAX_HOSTS)
    )
    """Hosts that are asked without it: names, with all below them, addresses and CIDR blocks;
    None: the environment's."""
    ca_file: _File | None = None
    """A file of certificate authorities that count besides the system's."""
    client_certificate: _File | None = None
    """A certificate for servers that want one from their clients."""
    client_key: _File | None = None
    """Its key; None: it is in the same file."""
    connect_seconds: int = Field(default=15, ge=1, le=600)
    """How long a connection may take to be made, whatever number of addresses a host has."""
    first_byte_seconds: int = Field(default=300, ge=1, le=_HOUR)
    """How long a server may take to begin its answer; caches fetch a whole layer meanwhile."""
    stall_seconds: int = Field(default=60, ge=1, le=_HOUR)
    """How long a server may be silent in the middle of an answer."""
    total_seconds: int = Field(default=24 * _HOUR, ge=60, le=7 * 24 * _HOUR)
    """How long a layer may be waited for in all; what came is kept for the next run."""
    attempts: int = Field(default=5, ge=1, le=20)
    """How many failures in a row, without progress between them, are one too many."""

    @model_validator(mode="after")
    def _key_goes_with_a_certificate(self) -> Self:
        if self.client_key is not None and self.client_certificate is None:
            raise ValueError("client_key is of no use without client_certificate")
        return self


class TrustSettings(BaseModel):
    """The table ``trust``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    allow_downgrade: bool = False
    """Whether an image is taken that is an older release than what the machine took before from the
    same reference."""
    bundles: bool = False
    """Whether a bundle of cosign 3, which names no repository, may meet a requirement of the policy
    for images that asks for a sigstore signature."""


def _window(text: str) -> str:
    parse_window(text)
    return text


class Sessions(StrEnum):
    """Whose sessions a restart waits for."""

    IGNORE = "ignore"
    """Nobody's."""
    ACTIVE = "active"
    """Those of people who work."""
    ANY = "any"
    """Those of all who are logged in."""


class ApplySettings(BaseModel):
    """The table ``apply``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    windows: list[Annotated[str, AfterValidator(_window)]] = Field(
        default_factory=list, max_length=_MAX_WINDOWS
    )
    """The times of the week in which the machine restarts by itself, if it does, such as ``Fri,Sat
    22:00 6h``; none: when an automatic run has ended."""
    sessions: Sessions = Field(default=Sessions.ACTIVE, strict=False)
    """Whether such a restart waits while people are logged in: ``active``, while one of them works;
    ``any``, while there is one; ``ignore``, not at all."""
    battery: int = Field(default=30, ge=0, le=100)
    """How many percent a machine on battery has to have left for it; 0: that does not matter."""
    load: float | None = Field(default=None, gt=0, le=1_000)
    """The load average a processor, over five minutes, above which it waits; None: never."""
    deadline_days: int | None = Field(default=None, ge=1, le=365)
    """How many days an update waits for people and for load at the most, once it is staged; None:
    without an end. A hold, an inhibitor, a window, the battery and scripts count after it, too."""


class Configuration(BaseModel):
    """The resolved settings; a value that is not exactly of its type is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    image: Annotated[str, AfterValidator(_without_userinfo)] | None = Field(
        default=None, min_length=1, max_length=_MAX_TEXT
    )
    """The reference this machine follows, until ``bootctl-py switch`` says otherwise; None: the
    one that the booted deployment came from."""
    automatic: Automatic = Field(default=Automatic.STAGE, strict=False)
    """How far the timer goes by itself: ``off``, ``check``, ``stage`` or ``apply``."""
    keep_deployments: int = Field(default=2, ge=1, le=100)
    """How many deployments are kept if there are as many, the booted one included. The booted, the
    staged, the next and the pinned ones, and where a rollback goes, are kept in any case."""
    tries: int = Field(default=3, ge=1, le=9)
    """How many boots a new deployment is granted before the boot loader falls back. One digit, so
    that counting never makes a file name on VFAT longer."""
    kernel_arguments: list[_Argument] = Field(default_factory=list, max_length=_MAX_ARGUMENTS)
    """Arguments this machine adds to those of every image, each one word of the command line."""
    allow_image_arguments: list[_Argument] = Field(default_factory=list, max_length=_MAX_ARGUMENTS)
    """Keys of kernel arguments that an image may ask for although a boot with them might go wrong
    without an end, and so without a fallback: ``init`` or ``systemd.unit``, for example."""
    integrity: Integrity = Field(default=Integrity.OFF, strict=False)
    """What is made sure of when a deployment staged from now on runs: ``off``, or ``verity``, which
    refuses to boot or to open what is not as it was in the image."""
    boot_partition: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        default=None, strict=False
    )
    """Where ``$BOOT`` is mounted, or its block device; None: it is looked for."""
    boot_partitions: list[Annotated[Path, Strict(strict=False), AfterValidator(_absolute)]] = Field(
        default_factory=list, max_length=_MAX_PARTITIONS
    )
    """Devices of EFI system partitions that are all kept alike; one of them is ``$BOOT``."""
    parallel_layers: int = Field(default_factory=_default_layers, ge=1, le=16)
    """How many layers are fetched and unpacked at once; by default one a processor, at most 4."""
    soak_seconds: int = Field(default=0, ge=0, le=604_800)
    """How many seconds a deployment on trial has to stay well before it is kept; the health checks
    run once more at the end."""
    ignore_old_failures: bool = True
    """A health check that failed under the deployment before as well does not count against the
    new one."""
    keep_partial_mib: int = Field(default=4_096, ge=0, le=1_048_576)
    """How many MiB of downloads that were cut off are kept to be resumed."""
    trust_layer_tables: bool = False
    """Whether the table of contents of a layer may vouch for it where its tar stream cannot be
    rebuilt, so that of such layers too only what changed is fetched."""
    apply: ApplySettings = Field(default_factory=ApplySettings)
    """When the machine restarts by itself."""
    trust: TrustSettings = Field(default_factory=TrustSettings)
    """Which images are taken, beside what the policy for images says."""
    registries: RegistriesSettings = Field(default_factory=RegistriesSettings)
    """How registries are reached."""
    etc: EtcSettings = Field(default_factory=EtcSettings)
    """How ``/etc`` is merged, and how long copies of it are kept."""
