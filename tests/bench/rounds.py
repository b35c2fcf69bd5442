"""Each tool in turn, some rounds of it; the last one looks at the daemon and takes the profile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from support.registry import DockerRegistry

from bench.bootd_tool import Bootd, phases
from bench.composing import compare
from bench.curl_tar import CurlTar
from bench.ostree import Ostree
from bench.podman import Podman
from bench.profile import PROFILE, profile_first_pull
from bench.report import Results
from bench.sizes import rounds
from bench.skopeo_umoci import SkopeoUmoci
from bench.targets import DAEMON, FIRST, OWN, POLL, SECOND
from bench.tool import Tool, say

TOOLS: tuple[type[Tool], ...] = (Bootd, SkopeoUmoci, CurlTar, Ostree, Podman)


@dataclass(frozen=True)
class Rounds:
    """All rounds of the tools that are installed.

    Attributes:
        results: what they add to.
        folder: to work in.
        registry: has both versions.
    """

    results: Results
    folder: Path
    registry: DockerRegistry

    def run(self, target: Path) -> None:
        """Run all of them; the profile's files get the name of `target`."""
        tools = [kind for kind in TOOLS if shutil.which(kind.program)]
        for kind in set(TOOLS) - set(tools):
            say(f"{kind.name} is left out: {kind.program} is not installed")
        for number in range(rounds()):
            shift = number % len(tools)
            for kind in (*tools[shift:], *tools[:shift]):
                say(f"round {number + 1}: {kind.name}")
                self._in_turn(kind, lambda tool, kind=kind: self._measure(kind.name, tool))
        self._in_turn(Bootd, self._look_at_the_daemon)
        say("a profile")
        self._in_turn(Bootd, lambda tool: self._profile(tool, target))

    def _in_turn(self, kind: type[Tool], act: Callable[[Tool], None]) -> None:
        """Let a new one do something in a folder that is gone afterwards."""
        own = self.folder / "tool"
        own.mkdir()
        try:
            act(kind(own, self.registry))
        finally:
            shutil.rmtree(own)

    def _measure(self, name: str, tool: Tool) -> None:
        with self.results.part(name):
            first = tool.first()
            self.results.add(FIRST, name, first)
            if isinstance(tool, Bootd):
                self.results.note(f"{OWN}: phases of the first pull", **phases(first))
                self._poll_and_compose(tool)
            self.results.add(SECOND, name, tool.second())

    def _poll_and_compose(self, tool: Bootd) -> None:
        with self.results.part(POLL):
            requests, poll = tool.check()
            self.results.add(POLL, OWN, poll)
            self.results.note(POLL, requests=requests)
        with self.results.part(OWN):
            compare(self.results, tool.sysroot, tool.folder)

    def _look_at_the_daemon(self, tool: Tool) -> None:
        say("the daemon, after an upgrade and a while of nothing")
        with self.results.part(DAEMON):
            assert isinstance(tool, Bootd)
            tool.first()
            self.results.note(DAEMON, **asdict(tool.daemon()))

    def _profile(self, tool: Tool, target: Path) -> None:
        with self.results.part(PROFILE):
            assert isinstance(tool, Bootd)
            profile_first_pull(self.results, tool, target)
