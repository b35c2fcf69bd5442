"""What a source needs besides the reference: plain values that can be sent to worker processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bootd import __version__
from bootd.model.image import Platform
from bootd.registry.processor import host_platform


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Places, bounds and patience. Sizes are in bytes, times in seconds.

    Attributes:
        root: the folder below which ``etc/containers`` and the like are looked up.
        platform: which image of an index is taken.
        user_agent: what bootd calls itself.
        connect_seconds: how long a connection may take to be made.
        stall_seconds: how long a server may be silent.
        document_seconds: how long a manifest, configuration or token may take in all.
        rate_window_seconds: the window over which a blob's rate is measured.
        minimum_rate: bytes a second below which a server counts as stuck.
        attempts: how many failures in a row, without progress between them, are one too many.
        backoff_seconds: the mean wait after the first failure; it doubles each time.
        backoff_limit_seconds: the longest such wait.
        retry_after_limit_seconds: the longest wait a server may ask for.
        partial_limit: how much unfinished downloads may take together; 0 keeps none.
        partial_minimum: blobs smaller than this are not worth resuming in a later run.
        partial_after_seconds: how long a blob may be waited for before what follows of it is kept.
    """

    root: Path = Path("/")
    platform: Platform = field(default_factory=host_platform)
    user_agent: str = f"bootd/{__version__}"
    connect_seconds: float = 15.0
    stall_seconds: float = 30.0
    document_seconds: float = 120.0
    rate_window_seconds: float = 60.0
    minimum_rate: int = 1 << 10
    attempts: int = 5
    backoff_seconds: float = 0.5
    backoff_limit_seconds: float = 30.0
    retry_after_limit_seconds: float = 120.0
    partial_limit: int = 4 << 30
    partial_minimum: int = 1 << 20
    partial_after_seconds: float = 2.0
