"""What every measured tool does: bring version 1 onto an empty disk, then version 2 onto that."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from support.registry import DockerRegistry

from bench.measure import Measurement

REPOSITORY = "bench/debian"


def say(text: str) -> None:
    """Tell who waits what is going on."""
    sys.stdout.write(f"==> {text}\n")
    sys.stdout.flush()


class Tool(ABC):
    """One way to get an image's files onto a disk; a new object for each round.

    Attributes:
        name: in the results.
        program: the tool takes part where this is installed.
        folder: an empty folder of its own.
    """

    name: ClassVar[str]
    program: ClassVar[str] = "sh"

    def __init__(self, folder: Path, registry: DockerRegistry) -> None:
        self.folder = folder
        self.registry = registry

    @abstractmethod
    def first(self) -> Measurement:
        """Fetch and unpack version 1."""

    @abstractmethod
    def second(self) -> Measurement:
        """Fetch and unpack version 2, with all that version 1 left."""

    def reference(self, tag: str) -> str:
        return f"{self.registry.host}/{REPOSITORY}:{tag}"
