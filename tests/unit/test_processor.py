"""What /proc/cpuinfo says, as a variant that images name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootd.model.registry.image import Platform
from bootd.registry import processor
from bootd.registry.processor import amd64_variant, host_platform, platform_of

V2 = ["cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3"]
V3 = ["abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"]
V4 = ["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"]
BASELINE = ["fpu", "cmov", "cx8", "fxsr", "mmx", "syscall", "sse", "sse2", "lm"]


def cpuinfo(**fields: str) -> str:
    lines = "".join(f"{name}\t: {value}\n" for name, value in fields.items())
    return f"processor\t: 0\n{lines}\nprocessor\t: 1\nflags\t\t: nothing\n"


@pytest.mark.parametrize(
    ("flags", "variant"),
    [
        ([], ""),
        (BASELINE, ""),
        (BASELINE + V2, "v2"),
        (BASELINE + V2 + V3, "v3"),
        (BASELINE + V2 + V3 + V4, "v4"),
        (BASELINE + V3 + V4, ""),
        (BASELINE + V2 + V4, "v2"),
    ],
)
def test_levels_of_amd64(flags: list[str], variant: str) -> None:
    assert amd64_variant(flags) == variant
    assert platform_of("x86_64", cpuinfo(flags=" ".join(flags))).variant == variant


@pytest.mark.parametrize("level", [V2, V3, V4])
def test_a_level_takes_all_of_its_flags(level: list[str]) -> None:
    everything = BASELINE + V2 + V3 + V4
    below = {id(V2): "", id(V3): "v2", id(V4): "v3"}[id(level)]
    for flag in level:
        assert amd64_variant([one for one in everything if one != flag]) == below


@pytest.mark.parametrize(
    ("machine", "text", "expected"),
    [
        ("x86_64", "", "linux/amd64"),
        ("aarch64", cpuinfo(Features="fp asimd atomics"), "linux/arm64"),
        ("aarch64", cpuinfo(Features="fp asimd sve sve2"), "linux/arm64/v9"),
        ("armv8l", "", "linux/arm/v8"),
        ("armv7l", cpuinfo(Features="neon"), "linux/arm/v7"),
        ("armv6l", "", "linux/arm/v6"),
        ("armv5tel", "", "linux/arm/v5"),
        ("ppc64le", cpuinfo(cpu="POWER8E (raw), altivec supported"), "linux/ppc64le"),
        ("ppc64le", cpuinfo(cpu="POWER9 (architected)"), "linux/ppc64le/power9"),
        ("ppc64le", cpuinfo(cpu="POWER10 (raw)"), "linux/ppc64le/power10"),
        ("ppc64le", cpuinfo(cpu="POWER12"), "linux/ppc64le/power11"),
        ("ppc64le", cpuinfo(cpu="PPC970"), "linux/ppc64le"),
        ("riscv64", cpuinfo(isa="rv64imafdc"), "linux/riscv64"),
        ("strange", "", "linux/strange"),
    ],
)
def test_platforms(machine: str, text: str, expected: str) -> None:
    assert str(platform_of(machine, text)) == expected


def test_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = host_platform()
    assert here.os == "linux"
    assert here.architecture
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "missing")
    assert host_platform() == Platform(os="linux", architecture=here.architecture)
