"""Fuzzes one target in this process: ``python -m fuzz.run TARGET [what libFuzzer takes …]``."""

from __future__ import annotations

import random
import sys

import atheris

with atheris.instrument_imports(include=["bootd"]):
    from fuzz.target import LONGEST
    from fuzz.targets import TARGETS

_REPEATED_ONE_IN = 32


def mutate(data: bytes, longest: int, seed: int) -> bytes:
    """Change an input; now and then by a part of it that comes again and again.

    Work that grows with the square of an input's size is seen with much of one thing only.
    """
    chosen = random.Random(seed)
    if not data or chosen.randrange(_REPEATED_ONE_IN):
        return bytes(atheris.Mutate(data, longest))
    begin = chosen.randrange(len(data))
    part = data[begin : begin + chosen.randrange(1, 65)]
    times = min(1 << chosen.randrange(16), (longest - len(data)) // len(part))
    return bytes(data[:begin] + part * times + data[begin:])[:longest]


def main() -> None:
    """Fuzz for as long as told; libFuzzer ends the process at the first failure."""
    target = TARGETS[sys.argv.pop(1)]
    arguments = [*sys.argv, f"-max_len={LONGEST}", "-print_final_stats=1", "-timeout=120"]
    atheris.Setup(arguments, target.try_on, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
