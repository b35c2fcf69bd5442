"""``bootctl-py`` and the daemon on a bus of their own, from the first word to the exit status."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.images import build_image, tar_layer
from support.machine import Machine, image_files, installed, publish
from support.own_run import with_run
from support.private_bus import run_bus, run_daemon
from support.registry import faulty_registry

from bootd.cli.schemas import schemas
from bootd.daemon.dbus.client import BusClient
from bootd.model.digest import Digest
from bootd.model.errors import NotDeniedError
from bootd.operations.progress import Silent
from bootd.operations.stage import stage
from bootd.operations.trial.deny import deny

BOOTCTL = str(Path(sys.executable).with_name("bootctl-py"))
PATIENCE = 60
VALIDATORS = {
    schema["properties"]["kind"]["const"]: jsonschema.Draft202012Validator(schema)
    for schema in map(json.loads, schemas().values())
}


@dataclass
class Client:
    """Runs ``bootctl-py`` beside a daemon."""

    machine: Machine
    environment: Mapping[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BOOTCTL, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [BOOTCTL, *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def say(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def document(self, *words: str, status: int = 0) -> dict[str, Any]:
        """Return the one document on stdout, checked with its schema; stderr must be empty."""
        done = self.run(*words, "--json=short")
        assert (done.returncode, done.stderr) == (status, ""), done.stdout
        value = json.loads(done.stdout)
        VALIDATORS[value["kind"]].validate(value)
        assert isinstance(value, dict)
        return value


def follow(machine: Machine, reference: str, **settings: str) -> None:
    folder = machine.folder / "etc/bootd"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'{name} = "{value}"' for name, value in {"image": reference, **settings}.items()]
    (folder / "bootd.toml").write_text("\n".join(lines) + "\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = installed(tmp_path)
    follow(made, made.reference)
    return made


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[dict[str, str]]:
    folder = tmp_path / "bus"
    folder.mkdir()
    with run_bus(folder) as environment:
        yield environment


@pytest.fixture
def client(machine: Machine, bus: dict[str, str], tmp_path: Path) -> Iterator[Client]:
    with run_daemon(bus, machine.folder, tmp_path / "bootd.log"):
        yield Client(machine, bus)


def test_an_upgrade_from_the_check_to_the_next_boot(client: Client) -> None:
    assert "Update:" in client.say("check")
    done = client.run("upgrade")
    assert done.returncode == 0
    assert done.stdout.startswith("Staged ")
    assert ": 100%\n" in done.stderr
    assert "bootctl-py apply" in done.stderr
    status = client.say("status")
    assert "staged, restart to finish" in status
    assert "Nothing to do" in client.say("upgrade")
    assert "image=v2" in client.say("kargs")
    folder = str(client.machine.folder)
    assert "boots next" in client.say("finalize", "--sysroot", folder)
    assert "bootctl-py apply" in client.say("status")
    assert "Nothing is staged" in client.say("finalize", "--sysroot", folder)


def test_the_status_of_this_machine_needs_no_bus(client: Client, bus: dict[str, str]) -> None:
    """What the daemon wrote down says the same as the daemon, at once after each change."""
    address = "DBUS_SYSTEM_BUS_ADDRESS"
    without_bus = {name: value for name, value in bus.items() if name != address}

    def read(*words: str) -> str:
        command = with_run(client.machine.folder / "run/bootd", [BOOTCTL, *words])
        done = subprocess.run(
            command, env=without_bus, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    for change in (["check"], ["upgrade"], ["hold", "me"], ["unstage"]):
        client.say(*change)
        found, answered = json.loads(read("status", "--json=short")), client.document("status")
        assert found == {**answered, "etc_drift": None}
        page = [line for line in client.say("status").splitlines() if "Drift" not in line]
        assert [line.split() for line in read("status").splitlines()] == list(map(str.split, page))


def test_every_verb_speaks_json(client: Client) -> None:
    kinds = {
        "check": "Check",
        "upgrade": "Stage",
        "status": "Status",
        "deployments": "Deployments",
        "kargs": "KernelArguments",
        "etc diff": "EtcDiff",
        "etc preview": "EtcReport",
        "etc conflicts": "EtcConflicts",
        "etc copies": "EtcCopies",
        "etc reset /etc/motd": "EtcChange",
        "denied list": "Denied",
        "why": "Explanation",
        "jobs": "Jobs",
        "fsck": "Fsck",
        "hold me": "Done",
        "release": "Done",
        "cleanup": "Collect",
        "cleanup --boot": "BootUsage",
        "unstage": "Done",
        "config": "Configuration",
    }
    for words, kind in kinds.items():
        assert client.document(*words.split())["kind"] == kind, words
    folder = ("--sysroot", str(client.machine.folder))
    assert client.document("finalize", *folder)["kind"] == "Finalize"
    assert client.document("bless", *folder)["kind"] == "Done"
    assert client.document("rollback", status=1)["code"] == "no-rollback"
    assert client.document("pin", "x", status=2)["code"] == "invalid-argument"


def test_the_disk_says_what_the_daemon_says(client: Client) -> None:
    client.say("upgrade")
    for words in (
        "status",
        "deployments",
        "kargs",
        "etc diff",
        "etc conflicts",
        "denied list",
        "why",
    ):
        asked = client.document(*words.split())
        read = client.document(*words.split(), "--offline", "--sysroot", str(client.machine.folder))
        if words == "why":
            # What gates look at is asked of services over the bus.
            assert (read.pop("gates"), bool(asked.pop("gates"))) == ([], True)
        assert asked == read, words


def test_kernel_arguments_are_changed_by_people_and_programs(client: Client) -> None:
    added = client.document("kargs", "add", "nosmt", 'dyndbg="file a.c +p"')
    assert (added["kind"], added["changed"]) == ("KernelArgumentsChange", True)
    assert added["added"] == ["nosmt", 'dyndbg="file a.c +p"']
    owned = client.document("kargs", "set", "--source", "tuned", "isolcpus=1", "nohz_full=1")
    assert owned["deployment"] == added["deployment"]
    assert "1 nohz_full=1" not in client.say("kargs", "remove", "quiet")
    shown = client.document("kargs")
    assert shown["removed"] == ["quiet"]
    assert shown["added"] == [*added["added"], "isolcpus=1", "nohz_full=1"]
    assert shown["origins"]["isolcpus=1"] == "source tuned"
    assert shown["origins"]["nosmt"] == "kargs"
    assert shown["not_taken"] == ["quiet"]
    assert "There is no quiet." in client.say("kargs", "unset", "quiet")
    assert client.document("kargs", "add", status=2)["code"] == "invalid-argument"
    assert client.document("kargs", "add", "x" * 5_000, status=2)["code"] == "invalid-argument"
    assert client.document("kargs", "add", "bootd=1", status=2)["code"] == "invalid-argument"
    assert client.document("kargs", "add", "nosmt", "--no-wait")["kind"] == "Job"
    follow(client.machine, client.machine.reference)
    assert client.machine.reboot() == added["deployment"]
    line = client.machine.sysroot.command_line.read_text()
    assert line.endswith(' nosmt dyndbg="file a.c +p" isolcpus=1 nohz_full=1\n')


def test_what_is_staged_gets_new_settings_from_the_daemon(client: Client, tmp_path: Path) -> None:
    staged = client.document("upgrade")
    assert staged["cause"] == "image"
    settings = client.machine.folder / "etc/bootd/bootd.toml"
    settings.write_text(settings.read_text() + 'kernel_arguments = ["nosmt"]\n')
    again = client.document("upgrade")
    assert (again["cause"], again["deployment"]) == ("kernel-arguments", staged["deployment"])
    assert client.document("kargs")["origins"]["nosmt"] == "bootd.toml"
    assert f"is staged as {staged['deployment']}" in (tmp_path / "bootd.log").read_text()
    assert "Traceback" not in (tmp_path / "bootd.log").read_text()


def test_kernel_arguments_of_a_machine_in_a_folder(client: Client) -> None:
    folder = ("--sysroot", str(client.machine.folder))
    changed = client.document("kargs", "set", "panic=5", *folder)
    assert (changed["added"], changed["removed"]) == (["panic=5"], ["panic=30"])
    assert not client.document("kargs", *folder, "set", "panic=5")["changed"]
    assert client.document(*folder, "kargs")["next"][-1] == "panic=5"


def test_a_rollback_denies_and_a_person_may_allow(client: Client) -> None:
    first = client.document("status")["booted"]
    second = client.document("upgrade")["deployment"]
    client.say("finalize", "--sysroot", str(client.machine.folder))
    back = client.document("rollback")
    assert back["deployment"] == first
    refused = client.document("upgrade", status=4)
    assert refused["code"] == "denied-digest"
    automatic = client.document("upgrade", "--automatic")
    assert automatic["kind"] == "Done"
    assert back["denied"] in client.say("denied", "list")
    client.say("check")
    assert "denied allow" in client.say("why")
    client.say("denied", "allow", back["denied"])
    assert client.document("denied", "allow", back["denied"], status=2)["code"] == "not-denied"
    assert client.document("denied", "list")["denied"] == []
    assert client.document("rollback", second)["deployment"] == second


def test_holds_stop_the_timer_and_nobody_else(client: Client) -> None:
    client.say("hold", "rack move")
    assert "rack move" in client.say("status")
    automatic = client.run("upgrade", "--automatic")
    assert automatic.returncode == 0
    assert "rack move" in automatic.stdout
    assert client.document("upgrade")["changed"]
    client.say("release")
    assert client.document("status")["held_by"] is None


def test_a_hold_has_an_end_if_it_is_given_one(client: Client) -> None:
    said = client.say("hold", "--until", "2030-12-04 18:00 UTC", "exams")
    assert "until 2030-12-04 18:00" in said
    assert client.document("status")["held_until"] == "2030-12-04T18:00:00Z"
    assert "Held until" in client.say("status")
    assert "2030-12-04" in client.say("why")
    for text in ("yesterday", "some day", "", "1800-01-01", "9999-01-01"):
        refused = client.document("hold", f"--until={text}", "exams", status=2)
        assert refused["code"] == "invalid-argument", text
    assert client.document("status")["held_until"] == "2030-12-04T18:00:00Z"
    client.say("hold", "exams")
    assert client.document("status")["held_until"] is None


def test_a_hold_ends_what_the_timer_does(stalled: threading.Event, client: Client) -> None:
    assert not stalled.is_set()
    with client.start("upgrade", "--automatic") as timer:
        wait_for_line(timer, "pulling")
        client.say("hold", "exams")
        said, _ = timer.communicate(timeout=PATIENCE)
    assert (timer.returncode, "updates are held: exams" in said) == (0, True)


def test_what_the_timer_would_replace_is_kept(
    client: Client, machine: Machine, tmp_path: Path
) -> None:
    stage(machine.host, Silent(), reference=publish(tmp_path / "hotfix", "hotfix"))
    said = client.say("upgrade", "--automatic")
    assert "hotfix was staged by hand" in said
    assert "staged by hand" in client.say("why")
    assert client.document("status")["staged_by_hand"]


@pytest.mark.parametrize(
    ("policy", "kind", "staged"), [("off", "Done", 0), ("check", "Check", 0), ("stage", "Stage", 1)]
)
def test_the_timer_goes_as_far_as_it_is_told(
    machine: Machine, bus: dict[str, str], tmp_path: Path, *, policy: str, kind: str, staged: int
) -> None:
    follow(machine, machine.reference, automatic=policy)
    with run_daemon(bus, machine.folder, tmp_path / "bootd.log"):
        client = Client(machine, bus)
        assert client.document("upgrade", "--automatic")["kind"] == kind
        assert bool(client.document("status")["staged"]) == bool(staged)


def test_pins(client: Client) -> None:
    booted = client.document("status")["booted"]
    client.say("pin", booted)
    assert "pinned" in client.say("deployments")
    client.say("unpin", booted)
    assert "pinned" not in client.say("deployments")
    other = "0123456789abcdef.0"
    assert client.document("pin", other, status=2)["code"] == "no-such-deployment"


def test_a_deployment_is_forgotten(client: Client) -> None:
    first = client.document("status")["booted"]
    second = client.document("upgrade")["deployment"]
    client.say("finalize", "--sysroot", str(client.machine.folder))
    refused = client.document("forget", first, status=4)
    assert (refused["code"], refused["message"]) == ("deployment-needed", f"{first} is what runs")
    assert client.document("forget", second)["deployments"] == [second]
    left = [one["id"] for one in client.document("deployments")["deployments"]]
    assert left == [first]


def test_a_job_that_nobody_waits_for(client: Client) -> None:
    path = client.document("check", "--no-wait")["path"]
    assert path in {job["path"] for job in client.document("jobs")["jobs"]}
    assert client.document("cancel", "4711", status=2)["code"] == "no-such-job"


def test_a_folder_is_not_restarted(client: Client) -> None:
    done = client.run("apply")
    assert done.returncode == 2
    assert "hint: " in done.stderr
    client.say("upgrade")
    assert client.run("upgrade", "--apply").returncode == 2


def test_damage_is_found_with_and_without_a_daemon(
    machine: Machine, bus: dict[str, str], tmp_path: Path
) -> None:
    victim = next(path for path in machine.sysroot.objects.rglob("*") if path.is_file())
    victim.chmod(0o600)
    victim.write_bytes(b"x" * victim.stat().st_size)
    client = Client(machine, bus)
    folder = ("--sysroot", str(machine.folder))
    found = client.document("fsck", "--no-repair", *folder, status=1)
    assert any(victim.name in damage["path"] for damage in found["damages"])
    with run_daemon(bus, machine.folder, tmp_path / "bootd.log"):
        mended = client.run("fsck")
        assert mended.returncode == 1
        assert "removed" in mended.stdout
        assert "bootctl-py upgrade" in mended.stderr


def test_without_a_daemon_it_says_how_to_go_on(machine: Machine, bus: dict[str, str]) -> None:
    done = Client(machine, bus).run("status")
    assert done.returncode == 1
    assert done.stderr.startswith("bootctl-py: ")
    # What runs the tests is no machine of bootd's.
    assert "'bootctl-py doctor'" in done.stderr


def test_a_terminal_sees_a_bar(client: Client) -> None:
    ours, theirs = pty.openpty()
    try:
        environment = {**client.environment, "TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"}
        done = subprocess.run(
            [BOOTCTL, "upgrade"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
            timeout=PATIENCE,
        )
        seen = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout.startswith(b"Staged ")
    assert "%" in seen
    assert "pulling:" not in seen


@pytest.fixture
def stalled(machine: Machine) -> Iterator[threading.Event]:
    """A registry that keeps the layers to itself until the event is set."""
    with faulty_registry() as registry:
        image = build_image([tar_layer(image_files("v3"))])
        registry.add_image(image)
        registry.configure(machine.folder)
        go_on = threading.Event()
        registry.fail(f"GET .*{image.layers[0]['digest']}", times=-1, wait=go_on)
        follow(machine, f"{registry.host}/os/image:latest")
        try:
            yield go_on
        finally:
            go_on.set()


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said, but: {seen}")


def test_ctrl_c_cancels_the_job(stalled: threading.Event, client: Client) -> None:
    assert not stalled.is_set()
    with client.start("upgrade") as process:
        wait_for_line(process, "pulling")
        assert client.document("status")["state"] == "pulling"
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "Cancelling")
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "bootctl-py: " in said
    [job] = client.document("jobs")["jobs"]
    assert job["state"] == "cancelled"
    assert client.document("status")["staged"] is None


def test_ctrl_c_again_stops_waiting(stalled: threading.Event, client: Client) -> None:
    assert not stalled.is_set()
    with client.start("upgrade") as process:
        wait_for_line(process, "pulling")
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "Cancelling")
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said, complained) == (130, "", "")


def test_a_job_outlives_who_asked_for_it(stalled: threading.Event, client: Client) -> None:
    with client.start("upgrade") as first:
        wait_for_line(first, "pulling")
        busy = client.document("cleanup", status=6)
        assert busy["code"] == "busy"
        first.kill()
        first.wait()
    with client.start("upgrade") as second:
        wait_for_line(second, "pulling")
        assert len(client.document("jobs")["jobs"]) == 1
        stalled.set()
        said, _ = second.communicate(timeout=PATIENCE)
    assert said.startswith("Staged ")
    assert second.returncode == 0


def test_a_download_is_in_the_way_of_nobody_who_decides_or_looks(
    stalled: threading.Event, client: Client, machine: Machine
) -> None:
    booted = machine.sysroot.booted()
    digest = Digest.of(b"another")
    deny(machine.host, digest, "a test")

    async def decide_and_look() -> str:
        bus = await BusClient.connect(client.environment["DBUS_SYSTEM_BUS_ADDRESS"])
        await bus.call("Hold", "exams")
        await bus.call("Release")
        await bus.call("Pin", booted)
        await bus.call("Unpin", booted)
        await bus.call("Allow", digest)
        with pytest.raises(NotDeniedError):
            await bus.call("Allow", digest)
        await bus.call("Unstage")
        looks = ("GetStatus", "Explain", "ListDenied", "ListEtcCopies", "GetBootUsage")
        for look in (*looks, "EtcConflicts", "EtcDiff"):
            await bus.call(look)
        [job] = await bus.get_jobs()
        await bus.close()
        return job.state

    with client.start("upgrade") as download:
        wait_for_line(download, "pulling")
        assert asyncio.run(decide_and_look()) == "running"
        stalled.set()
        said, _ = download.communicate(timeout=PATIENCE)
    assert said.startswith("Staged ")


def test_what_was_unstaged_during_a_download_is_replaced(
    stalled: threading.Event, client: Client, machine: Machine, tmp_path: Path
) -> None:
    first = stage(machine.host, Silent(), reference=publish(tmp_path / "hotfix", "v2")).deployment
    with client.start("upgrade") as download:
        wait_for_line(download, "pulling")
        assert client.document("status")["staged"] == first
        client.say("unstage")
        assert client.document("status")["staged"] is None
        stalled.set()
        said, _ = download.communicate(timeout=PATIENCE)
    assert said.startswith("Staged ")
    assert client.document("status")["staged"] not in (first, None)


def test_the_timer_waits_for_a_person_and_a_person_for_the_timer(
    stalled: threading.Event, client: Client
) -> None:
    with client.start("upgrade") as person:
        wait_for_line(person, "pulling")
        with client.start("upgrade", "--automatic") as timer:
            wait_for_line(timer, "waiting")
            states = [job["state"] for job in client.document("jobs")["jobs"]]
            assert states == ["running", "waiting"]
            stalled.set()
            person.communicate(timeout=PATIENCE)
            said, _ = timer.communicate(timeout=PATIENCE)
    assert (person.returncode, timer.returncode) == (0, 0)
    assert "Nothing to do" in said


def test_a_rollback_waits_for_the_timer(stalled: threading.Event, client: Client) -> None:
    assert not stalled.is_set()
    with client.start("upgrade", "--automatic") as timer:
        wait_for_line(timer, "pulling")
        with client.start("rollback") as rollback:
            wait_for_line(rollback, "waiting")
            client.say("cancel", "1")
            timer.communicate(timeout=PATIENCE)
            _, said = rollback.communicate(timeout=PATIENCE)
    assert "no other deployment" in said


def test_cancel_by_number(stalled: threading.Event, client: Client) -> None:
    assert not stalled.is_set()
    with client.start("upgrade", "--json=short") as process:
        number = None
        while number is None:
            jobs = client.document("jobs")["jobs"]
            number = next((str(job["id"]) for job in jobs if job["phase"] == "pulling"), None)
        client.say("cancel", number)
        said, complained = process.communicate(timeout=PATIENCE)
    document = json.loads(said)
    assert (document["code"], process.returncode, complained) == ("cancelled", 1, "")
