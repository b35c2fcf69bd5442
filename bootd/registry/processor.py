"""The platform of this machine, with what its processor can do, as images name it.

The rules are over what the kernel says of the first processor: all of a machine run the same
programs. An empty variant is the architecture's baseline. Sources: x86-64 psABI 1.0, section 3.1.1,
"Processor Architecture" (the levels of amd64); Linux, arch/x86/include/asm/cpufeatures.h and
Documentation/arch/arm64/elf_hwcaps.rst (the flags' names); image-index.md, "Platform Variants".
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from bootd.model.registry.image import Platform

CPUINFO: Final = Path("/proc/cpuinfo")

_ARCHITECTURES: Final = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "armv5tejl": ("arm", "v5"),
    "i686": ("386", ""),
    "i586": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
}
"""``uname -m`` and the names images use for it (Go's GOARCH, image-index.md "platform")."""

_AMD64_LEVELS: Final = (
    ("v2", {"cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
    ("v3", {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}),
    ("v4", {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}),
)
_POWER: Final = re.compile(r"POWER([0-9]{1,2})")
_OLDEST_POWER: Final = 8
_NEWEST_POWER: Final = 11
_READ_LIMIT: Final = 64 << 10


def host_platform() -> Platform:
    """Return this machine's platform."""
    machine = os.uname().machine
    try:
        with CPUINFO.open("rb") as stream:
            text = stream.read(_READ_LIMIT).decode(errors="replace")
    except OSError:
        text = ""
    return platform_of(machine, text)


def platform_of(machine: str, cpuinfo: str) -> Platform:
    """Return the platform of a machine.

    Args:
        machine: what ``uname -m`` says.
        cpuinfo: what ``/proc/cpuinfo`` says, or the beginning of it.
    """
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    first: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        first.setdefault(name.strip(), value.strip())
    match architecture:
        case "amd64":
            variant = amd64_variant(first.get("flags", "").split())
        case "arm64":
            variant = arm64_variant(first.get("Features", "").split())
        case "ppc64le":
            variant = ppc64le_variant(first.get("cpu", ""))
        case _:
            pass
    return Platform(os="linux", architecture=architecture, variant=variant)


def amd64_variant(flags: Collection[str]) -> str:
    """Return the highest level of which a processor has all flags, and of those below."""
    variant = ""
    for level, needed in _AMD64_LEVELS:
        if not needed.issubset(flags):
            break
        variant = level
    return variant


def arm64_variant(features: Collection[str]) -> str:
    """Return v9 for a processor with what that brought for all programs."""
    return "v9" if "sve2" in features else ""


def ppc64le_variant(cpu: str) -> str:
    """Return the variant of a processor, such as ``POWER9 (architected), altivec supported``."""
    match = _POWER.match(cpu)
    number = min(int(match[1]), _NEWEST_POWER) if match else 0
    return f"power{number}" if number > _OLDEST_POWER else ""
