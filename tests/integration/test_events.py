"""Each event of the catalogue reaches the journal on the way that machines take."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.bus import Rig, rig
from support.loader import boot, plain, set_variable, use_up_tries
from support.machine import Machine, publish

from bootd.model.event import FIELDS, Event
from bootd.operations.finalize import finalize
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent

pytestmark = pytest.mark.timeout(900)

_LIBRARY = """\
import json, os
def send(message, **fields):
    with open(os.environ["STAND_IN"], "a") as stream:
        stream.write(json.dumps({"MESSAGE": message, **fields}) + "\\n")
"""
"""In place of python3-systemd, so that the machine that runs the tests hears nothing."""
_RULES = b'security = ["/etc/app.conf"]\n'

Entry = dict[str, str | int]


class Story:
    """The life of a machine, and what the journal got in each part of it."""

    def __init__(self, made: Rig) -> None:
        self.machine = Machine(made.sysroot, made.folder / "image")
        self.heard: dict[str, list[Entry]] = {}
        self._journal = made.folder / "journal"
        library = made.folder / "library/systemd"
        library.mkdir(parents=True)
        (library / "__init__.py").touch()
        (library / "journal.py").write_text(_LIBRARY)
        made.log.touch()
        log = made.log.stat()
        self.rig = Rig(
            made.folder,
            {
                **made.environment,
                "PYTHONPATH": f"{library.parent}:{os.environ.get('PYTHONPATH', '')}",
                "STAND_IN": str(self._journal),
                "JOURNAL_STREAM": f"{log.st_dev}:{log.st_ino}",
            },
        )
        settings = self.machine.folder / "etc/bootd/bootd.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(f'image = "{self.machine.reference}"\n')

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Keep what the journal gets meanwhile under a name."""
        self._journal.write_text("")
        yield
        entries = map(json.loads, self._journal.read_text().splitlines())
        self.heard[name] = [entry for entry in entries if "MESSAGE_ID" in entry]

    def events(self, name: str) -> set[Event]:
        return {Event(entry["MESSAGE_ID"]) for entry in self.heard[name]}

    def ask(self, *words: str, status: int = 0) -> None:
        """Run a command that the daemon carries out."""
        self.rig.run("bootctl-py", *words, status=status)

    def offline(self, *words: str, status: int = 0) -> None:
        """Run a command as the units of shutdown and boot do."""
        self.ask("--sysroot", str(self.machine.folder), *words, status=status)

    def publish(self, version: str, **more: bytes | None) -> None:
        publish(self.machine.image, version, **{"usr/lib/bootd/": None, **more})

    def power_on(self, chosen: str | None = None) -> None:
        shutil.rmtree(self.machine.folder / "run", ignore_errors=True)
        boot(self.machine.sysroot, chosen)

    def entry_that_runs(self) -> str:
        found = take_survey(self.machine.sysroot)
        entry = found.entry(found.booted)
        assert entry is not None
        return entry.plain_name


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with rig() as made:
        told = Story(made)
        _upgrade(told)
        _fail_to_finalize(told)
        _fall_back(told)
        _boot_something_else(told)
        _do_without_daemon(told)
        yield told


def _upgrade(story: Story) -> None:
    machine = story.machine
    story.publish("v1")
    first = machine.upgrade()
    machine.reboot()
    (machine.etc(first) / "app.conf").write_text("setting = mine\n")
    story.publish("v2", **{"usr/lib/bootd/etc.toml": _RULES})
    with story.rig.daemon():
        with story.part("check"):
            story.ask("check")
        hidden = machine.image.rename(machine.image.with_name("hidden"))
        for _ in range(3):
            story.ask("check", status=1)
        hidden.rename(machine.image)
        with story.part("check that works again"):
            story.ask("check")
        with story.part("upgrade"):
            story.ask("upgrade")
        with story.part("failed job"):
            story.ask("switch", f"oci:{machine.folder}/nothing:latest", status=1)
    with story.part("finalize"):
        story.offline("finalize", "--quiet")
    story.power_on()
    with story.part("bless"):
        story.offline("bless", "--quiet")


def _fail_to_finalize(story: Story) -> None:
    machine = story.machine
    story.publish("v3")
    staged = machine.upgrade()
    kernel = take_survey(machine.sysroot).records[staged].kernel.initramfs_object
    stored = machine.sysroot.objects / kernel[:2] / kernel[2:]
    hidden = stored.rename(machine.folder / "hidden")
    with story.part("finalize that fails"):
        story.offline("finalize", "--quiet", status=1)
    hidden.rename(stored)


def _fall_back(story: Story) -> None:
    machine = story.machine
    finalize(machine.host, Silent())
    found = take_survey(machine.sysroot)
    entry = found.entry(found.next_boot)
    assert entry is not None
    use_up_tries(machine.sysroot, entry)
    story.power_on()
    with ExitStack() as runs:
        with story.part("start after a fallback"):
            runs.enter_context(story.rig.daemon())
        with story.part("kernel arguments"):
            story.ask("kargs", "add", "loglevel=3")
        with story.part("rollback"):
            story.ask("rollback")
        layer = next(path for path in machine.sysroot.layers.iterdir() if path.is_file())
        layer.chmod(0o600)
        layer.write_bytes(b"damaged")
        with story.part("fsck"):
            story.ask("fsck", status=1)


def _boot_something_else(story: Story) -> None:
    machine = story.machine
    runs = story.entry_that_runs()
    story.publish("v4")
    machine.upgrade()
    finalize(machine.host, Silent())
    set_variable(machine.sysroot, "LoaderEntryDefault", plain(runs))
    story.power_on()
    with story.part("start of something else"), story.rig.daemon():
        pass
    set_variable(machine.sysroot, "LoaderEntryDefault", None)


def _do_without_daemon(story: Story) -> None:
    story.power_on()
    story.offline("bless", "--quiet")
    for name, words in {
        "kernel arguments, offline": ("kargs", "add", "quiet=1"),
        "rollback, offline": ("rollback",),
    }.items():
        with story.part(name):
            story.offline(*words)
    layer = next(path for path in story.machine.sysroot.layers.iterdir() if path.is_file())
    layer.chmod(0o600)
    layer.write_bytes(b"damaged")
    with story.part("fsck, offline"):
        story.offline("fsck", status=1)


_SENT = {
    Event.UPDATE_AVAILABLE: ("check",),
    Event.STAGED: ("upgrade",),
    Event.ETC_SECURITY_CONFLICT: ("upgrade",),
    Event.JOB_FAILED: ("failed job",),
    Event.RECOVERED: ("check that works again",),
    Event.FINALIZED: ("finalize",),
    Event.FINALIZE_FAILED: ("finalize that fails",),
    Event.BLESSED: ("bless",),
    Event.FALLBACK_SEEN: ("start after a fallback",),
    Event.DENIED: ("start after a fallback", "rollback", "rollback, offline"),
    Event.KERNEL_ARGUMENTS_CHANGED: ("kernel arguments", "kernel arguments, offline"),
    Event.ROLLED_BACK: ("rollback", "rollback, offline"),
    Event.DAMAGE_FOUND: ("fsck", "fsck, offline"),
    Event.DID_NOT_BOOT: ("start of something else",),
    Event.BOOT_OVERRIDDEN: ("start of something else",),
}
"""In which parts of the story each event is sent."""
_OF_A_LIVE_MACHINE = {Event.RESTART_PUT_OFF}
"""Only a machine that can restart sends these; ``test_applying.py`` shows them."""


@pytest.mark.parametrize("event", [one for one in Event if one not in _OF_A_LIVE_MACHINE])
def test_each_event_of_the_catalogue_is_sent(event: Event, story: Story) -> None:
    for part in _SENT[event]:
        sent = [one for one in story.heard[part] if one["MESSAGE_ID"] == event.value]
        assert len(sent) == 1, (part, story.events(part))
        fields = {name.removeprefix("BOOTD_") for name in sent[0] if name.startswith("BOOTD_")}
        assert fields == set(FIELDS[event])


def test_without_the_journals_library_a_verb_works_in_silence(tmp_path: Path) -> None:
    with rig() as made:
        library = tmp_path / "systemd"
        library.mkdir()
        (library / "__init__.py").write_text("raise ImportError('there is none')\n")
        machine = Machine(made.sysroot, made.folder / "image")
        publish(machine.image, "v1")
        machine.upgrade()
        environment = {**made.environment, "PYTHONPATH": str(tmp_path)}
        done = Rig(made.folder, environment).run(
            "bootctl-py", "--sysroot", str(machine.folder), "finalize", "--quiet"
        )
    assert done.stderr == ""
