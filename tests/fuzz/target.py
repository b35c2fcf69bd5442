"""What is fuzzed, and what it may do: refuse its input by an error of bootd's, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootd.model.errors import BootdError

CORPUS = Path(__file__).with_name("corpus")
LONGEST = 128 << 10
"""Bytes of an input: enough for work that grows with the square of it to be seen."""
_FREE_SECONDS = 0.25
_SECONDS_PER_BYTE = 8e-6
"""What the slowest readers take, fivefold: instrumented code is that much slower."""
_TRIES = 3


class TooSlowError(AssertionError):
    """An input takes more processor time than its size is worth."""


@dataclass(frozen=True)
class Target:
    """A reader of bytes from outside.

    Attributes:
        name: of it, and of the folder of its seeds.
        read: is given the bytes.
        refuses: what it may raise besides bootd's errors.
    """

    name: str
    read: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...] = ()

    def try_on(self, data: bytes) -> bool:
        """Return whether an input was taken; fail if it was neither taken nor refused.

        Raises:
            TooSlowError: it took too much processor time, each of several times.
        """
        allowed = _FREE_SECONDS + len(data) * _SECONDS_PER_BYTE
        refusals: tuple[type[Exception], ...] = (BootdError, *self.refuses)
        spent: list[float] = []
        while len(spent) < _TRIES:
            start = time.thread_time()
            try:
                self.read(data)
                taken = True
            except refusals:
                taken = False
            spent.append(time.thread_time() - start)
            if spent[-1] <= allowed:
                return taken
        took = f"{min(spent):.2f} s of the processor"
        raise TooSlowError(f"{self.name}: {len(data)} bytes took {took}")

    def seeds(self) -> list[Path]:
        """Return the inputs that are kept in the repository."""
        return sorted((CORPUS / self.name).iterdir())
