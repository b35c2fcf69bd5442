"""A machine in QEMU tells its story: it upgrades itself, falls back by itself, and stays back.

Firmware, boot loader, kernel and systemd are Debian's own. What is slow is made once and kept: the
image, the installed disk, and the machine as it was after its first boot.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from demo.narration import Narrator
from support.registry import run_docker_registry
from support.vm_disk import await_kept, running_machine
from support.vm_scenario import UPGRADE, Scenario

from bootd.model.errors import BootdError

_TRIES = 3


class Story(Scenario):
    """A scenario that is told while it is played."""

    narrator: Narrator

    def show(self, command: str) -> str:
        """Run a command in the machine, and show it with what it prints."""
        self.narrator.tell(f"vm$ {command}")
        said = self.run(command, check=False, seconds=900)
        for line in said.splitlines()[:40]:
            self.narrator.tell(f"    {line}")
        return said


def main() -> int:
    """Tell the story; 0 if all that is claimed is true."""
    say = Narrator({})
    say.chapter("The stage: an image, a registry, a machine that was installed from it")
    say.tell("(made on first use, which takes some minutes)")
    try:
        # Nothing else keeps the host busy, and nobody likes to wait.
        saved = running_machine(processors=2)
    except BootdError as error:
        sys.stdout.write(f"The machine could not be made: {error}\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="bootd-demo-vm-") as work:
        folder = Path(work)
        (folder / "registry").mkdir()
        (folder / "machine").mkdir()
        with run_docker_registry(folder / "registry") as registry:
            story = Story(saved, folder / "machine", registry)
            story.narrator = say
            try:
                story.begin()
                _upgrade(story)
                _fall_back(story)
            finally:
                story.machine.kill()
    return 0 if say.finish() else 1


def _upgrade(story: Story) -> None:
    say = story.narrator
    say.chapter("Night: the timer's unit upgrades the machine")
    story.show("bootctl-py status")
    story.serve("v2")
    story.show(UPGRADE)
    story.show("bootctl-py status")
    story.show("echo 'edited after staging' >/etc/late")
    say.chapter("It restarts: firmware, systemd-boot, kernel, initramfs, systemd")
    version = story.machine.reboot()
    say.claim("version 2 boots", version == "v2")
    await_kept(story.machine)
    late = story.show("cat /etc/late /etc/motd")
    say.claim("an edit of /etc after staging is there", "edited after staging" in late)
    say.claim("what the image changed is there", "Welcome to v2" in late)
    story.show("findmnt --output TARGET,FSTYPE,OPTIONS / /etc")


def _fall_back(story: Story) -> None:
    say = story.narrator
    say.chapter("The next version panics at boot")
    story.serve("panics")
    story.show(UPGRADE)
    say.tell(f"It restarts, {_TRIES} times in vain, and nobody is there:")
    before = story.machine.boots
    story.run("systemctl --no-block reboot")
    version = story.machine.await_boot()
    boots = story.machine.boots - before
    say.claim(f"after {boots - 1} tries version 2 runs again", version == "v2")
    await_kept(story.machine)
    told = story.show("cat /run/motd.d/*")
    say.claim("the message of the day tells of it", "panics" in told)
    story.show("bootctl-py denied list")
    story.show(UPGRADE)
    staged = story.version_of("staged")
    say.claim("the timer does not try the bad version again", staged is None)
    story.serve("v3")
    story.show(UPGRADE)
    say.claim("a new version is taken", story.version_of("staged") == "v3")


if __name__ == "__main__":
    sys.exit(main())
