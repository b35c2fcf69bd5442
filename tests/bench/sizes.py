"""How large everything in the benchmark is.

``BENCH_SIZE=full`` (the default) is what the figures are promised for. ``small`` runs through all
of it in some minutes, so that a change of the benchmark can be tried; its verdicts mean nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

_BASE = "systemd,systemd-sysv,udev,dbus,kmod,login,passwd"


@dataclass(frozen=True)
class Size:
    """What a benchmark is made of.

    Attributes:
        packages: the big image's Debian packages; ``{architecture}`` is this machine's.
        table_layers: how many of its twelve layers get tables.
        rounds: how often each tool has its turn.
        large_bytes: unpacked size of the large image, and a fortieth of it that of the little one.
        idle_seconds: for how long the daemon is watched.
        sizes: bytes, unpacked, of the images along the first axis of ``make bench-scale``.
        entries: numbers of files along the second.
        layers: numbers of layers along the third.
        nights: upgrades in a row.
        night_bytes: unpacked size of the image that is upgraded every night.
    """

    packages: str
    table_layers: int
    rounds: int
    large_bytes: int
    idle_seconds: float
    sizes: tuple[int, ...]
    entries: tuple[int, ...]
    layers: tuple[int, ...]
    nights: int
    night_bytes: int


_SIZES = {
    "full": Size(
        packages=f"{_BASE},openssh-server,linux-image-{{architecture}},build-essential,gdb,cmake,"
        "git,clang,golang-go,default-jdk-headless,nodejs,npm,python3-dev,python3-numpy,"
        "python3-sphinx,ruby,php-cli,perl,emacs-nox,vim,postgresql,libboost-dev,manpages-dev",
        table_layers=4,
        rounds=3,
        large_bytes=8_000_000_000,
        idle_seconds=120.0,
        sizes=tuple(int(size * 1e9) for size in (0.2, 0.5, 1, 2, 4, 8)),
        entries=(5_000, 20_000, 80_000, 200_000, 400_000),
        layers=(1, 4, 12, 40, 120),
        nights=100,
        night_bytes=400_000_000,
    ),
    "small": Size(
        packages=f"{_BASE},linux-image-cloud-{{architecture}},perl",
        table_layers=2,
        rounds=1,
        large_bytes=200_000_000,
        idle_seconds=10.0,
        sizes=(5_000_000, 20_000_000, 100_000_000),
        entries=(200, 1_000, 5_000),
        layers=(1, 4, 12),
        nights=6,
        night_bytes=20_000_000,
    ),
}


def size() -> Size:
    """What the environment asks for; ``BENCH_ROUNDS`` says how many rounds.

    Raises:
        SystemExit: it asks for what there is not.
    """
    name = os.environ.get("BENCH_SIZE", "full")
    if name not in _SIZES:
        raise SystemExit(f"BENCH_SIZE={name}: there are {', '.join(_SIZES)}")
    return _SIZES[name]


def rounds() -> int:
    """How many rounds the environment asks for."""
    return int(os.environ.get("BENCH_ROUNDS", str(size().rounds)))
