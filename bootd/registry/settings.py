"""What a source needs besides the reference: plain values that can be sent to worker processes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple, Self

from bootd import __version__
from bootd.model.config import RegistriesSettings
from bootd.model.registry.image import Platform
from bootd.registry.processor import host_platform

_HASTY_ATTEMPTS: Final = 2
_HASTY_CONNECT_SECONDS: Final = 2.0
_HASTY_FIRST_BYTE_SECONDS: Final = 15.0
_HASTY_RETRY_AFTER_SECONDS: Final = 5.0


class Waits(NamedTuple):
    """How many seconds a connection may take to be made, and an answer to begin."""

    connect: float
    first_byte: float


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Places, bounds and patience. Sizes are in bytes, times in seconds.

    Attributes:
        root: the folder below which ``etc/containers`` and the like are looked up.
        platform: which image of an index is taken.
        user_agent: what bootd calls itself.
        proxy: the proxy to ask through; None: the environment's; empty: none.
        no_proxy: what is asked without it; None: the environment's.
        ca_file: certificate authorities besides the system's.
        client_certificate: what a server that asks for one is shown, unless it has its own folder.
        client_key: the key of that, if it is in another file.
        connect_seconds: how long a connection may take to be made, whatever addresses there are.
        first_byte_seconds: how long a server may take to begin its answer.
        stall_seconds: how long a server may be silent within an answer.
        total_seconds: how long a download may be waited for in all.
        document_seconds: how long a manifest, configuration or token may take in all.
        rate_window_seconds: the window over which a blob's rate is measured.
        minimum_rate: bytes a second below which a server counts as stuck.
        attempts: how many failures in a row, without progress between them, are one too many.
        backoff_seconds: the mean wait after the first failure; it doubles each time.
        backoff_limit_seconds: the longest such wait.
        retry_after_limit_seconds: the longest wait a server may ask for.
        is_hasty: another source is left, so one that cannot be reached is asked once.
        unreachable: the file that says which hosts could not be reached; None keeps no such notes.
        partial_limit: how much unfinished downloads may take together; 0 keeps none.
        partial_minimum: blobs smaller than this are not worth resuming in a later run.
        partial_after_seconds: how long a blob may be waited for before what follows of it is kept.
    """

    root: Path = Path("/")
    platform: Platform = field(default_factory=host_platform)
    user_agent: str = f"bootd/{__version__}"
    proxy: str | None = field(default=None, repr=False)
    no_proxy: tuple[str, ...] | None = None
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    connect_seconds: float = 15.0
    first_byte_seconds: float = 300.0
    stall_seconds: float = 60.0
    total_seconds: float = 86_400.0
    document_seconds: float = 120.0
    rate_window_seconds: float = 60.0
    minimum_rate: int = 1 << 10
    attempts: int = 5
    backoff_seconds: float = 0.5
    backoff_limit_seconds: float = 30.0
    retry_after_limit_seconds: float = 120.0
    is_hasty: bool = False
    unreachable: Path | None = None
    partial_limit: int = 4 << 30
    partial_minimum: int = 1 << 20
    partial_after_seconds: float = 2.0

    @classmethod
    def of(
        cls,
        configured: RegistriesSettings,
        *,
        root: Path,
        partial_limit: int,
        unreachable: Path | None,
    ) -> Self:
        """Return what the table ``registries`` of bootd.toml says, and the defaults."""
        no_proxy = configured.no_proxy
        return cls(
            root=root,
            proxy=configured.proxy,
            no_proxy=None if no_proxy is None else tuple(no_proxy),
            ca_file=configured.ca_file,
            client_certificate=configured.client_certificate,
            client_key=configured.client_key,
            connect_seconds=float(configured.connect_seconds),
            first_byte_seconds=float(configured.first_byte_seconds),
            stall_seconds=float(configured.stall_seconds),
            total_seconds=float(configured.total_seconds),
            attempts=configured.attempts,
            unreachable=unreachable,
            partial_limit=partial_limit,
        )

    @property
    def blob_waits(self) -> Waits:
        """For what a server may have to fetch itself before it can answer."""
        return Waits(self.connect_seconds, self.first_byte_seconds)

    @property
    def document_waits(self) -> Waits:
        """For manifests and tokens."""
        longest = _HASTY_FIRST_BYTE_SECONDS if self.is_hasty else self.document_seconds
        return Waits(self.connect_seconds, min(self.first_byte_seconds, longest))

    def hasty(self) -> RegistrySettings:
        """Return the same with little patience, for a source that is not the last one."""
        return replace(
            self,
            attempts=min(self.attempts, _HASTY_ATTEMPTS),
            connect_seconds=min(self.connect_seconds, _HASTY_CONNECT_SECONDS),
            retry_after_limit_seconds=min(
                self.retry_after_limit_seconds, _HASTY_RETRY_AFTER_SECONDS
            ),
            is_hasty=True,
        )
