"""Sets the stage, tells the story, and takes everything down again, also when it is interrupted."""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from support.debian_image import debian_image
from support.private_bus import run_bus, run_polkit
from support.registry import run_docker_registry

from bootd.model.errors import BootdError
from demo.machine import DemoMachine
from demo.narration import DemoFailedError, Narrator
from demo.story import CHAPTERS, Story


def main() -> int:
    """Run the demo; 0 if all it claims is true."""
    signal.signal(signal.SIGTERM, _end)
    with ExitStack() as stage:
        folder = Path(stage.enter_context(tempfile.TemporaryDirectory(prefix="bootd-demo-")))
        try:
            story = _set_up(folder, stage)
            for chapter in CHAPTERS:
                chapter(story)
        except (DemoFailedError, BootdError) as error:
            sys.stdout.write(f"The demo failed: {error}\n")
            log = folder / "machine/bootd.log"
            sys.stdout.write(log.read_text(errors="replace")[-4_000:] if log.exists() else "")
            return 1
        return 0 if story.narrator.finish() else 1


def _set_up(folder: Path, stage: ExitStack) -> Story:
    for name in ("registry", "bus", "polkit", "machine/disk/boot"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    environment = stage.enter_context(run_bus(folder / "bus"))
    say = Narrator(environment)
    say.chapter("The stage: a Debian image, a registry, a bus, a machine in a folder")
    say.tell("(building the image if it is not in the cache; the first time takes a minute)")
    image = debian_image()
    say.call("IMAGE", str(image))
    registry = stage.enter_context(run_docker_registry(folder / "registry"))
    say.tell(f"docker-registry listens on {registry.host}; dbus-daemon and polkitd run beside it")
    stage.enter_context(run_polkit(environment, folder / "polkit"))
    machine = DemoMachine(folder / "machine/disk", environment, say)
    registry.configure(machine.disk)
    stage.callback(machine.stop_daemon)
    machine.start_daemon()
    return Story(say, registry, machine, image, folder)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


sys.exit(main())
