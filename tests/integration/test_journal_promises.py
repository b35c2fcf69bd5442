"""Whoever is sent to the journal finds there what was promised."""

from __future__ import annotations

import ast
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.machine import Machine, installed, publish

from bootd import journal
from bootd.daemon.events.journal import announce
from bootd.daemon.events.news import tell_of_job
from bootd.daemon.jobs import Job, JobState, Limits, _no_progress
from bootd.daemon.worker import Step, Worker
from bootd.model.errors import InternalError, NotTrustedError, ProcessFailedError
from bootd.model.event import Event
from bootd.operations import pull
from bootd.operations.host import open_host
from bootd.operations.jobs.table import STAGE, StageRequest
from bootd.operations.progress import Silent
from bootd.operations.pulling.channel import Channel
from bootd.operations.pulling.child_process import ChildProcess
from bootd.operations.stage import stage

ROOT = Path(__file__).parents[2]
KERNEL = None
"""What the kernel or systemd says, which is none of bootd's."""
PROMISES = {
    "a fault in bootd; the cause is in the journal": (
        "test_job_log.py",
        "test_fault_is_in_the_journal_under_the_job",
    ),
    "report this with the journal of bootd.service": (
        "test_dbus_library.py",
        "test_unforeseen_error_tells_the_caller_nothing_inside",
    ),
    "the journal says what it was busy with": (
        "test_journal_promises.py",
        "test_a_job_that_came_no_further_is_told_with_its_phase",
    ),
    "the journal has its last words": (
        "test_journal_promises.py",
        "test_a_child_leaves_its_last_words",
    ),
    "do not trust the image; please report this with the journal": (
        "test_reader_process.py",
        "test_how_it_ended_is_told",
    ),
    "check the journal for disk errors": KERNEL,
    "the kernel's messages say so": KERNEL,
    "which is a fault; the journal says more": (
        "test_gates.py",
        "test_a_gate_that_is_broken_lets_nothing_pass",
    ),
    "'journalctl -b' says what went wrong": KERNEL,
    "the journal says what was wrong": (
        "test_forget.py",
        "test_without_room_for_its_edits_it_stays_in_the_store",
    ),
    "the journal has one message with a message_id": (
        "test_automatic_runs.py",
        "test_what_fails_the_same_way_is_announced_once",
    ),
    "the journal says why and the layer is fetched whole": (
        "test_partial_fetch.py",
        "test_where_parts_fail_the_layer_is_fetched_whole",
    ),
    "it is killed, and the journal says so": (
        "test_child_process.py",
        "test_child_that_does_not_go_is_killed",
    ),
    "the journal of a pull say what the kernel does not have": (
        "test_journal_promises.py",
        "test_what_confines_nobody_is_told",
    ),
    "says so in the journal, at login": (
        "test_events.py",
        "test_each_event_of_the_catalogue_is_sent",
    ),
    "the journal name each partition that was looked at": (
        "test_boot_proof.py",
        "test_what_only_reads_goes_on",
    ),
    "journalctl -u bootd job_id=7": (
        "test_job_log.py",
        "test_fault_is_in_the_journal_under_the_job",
    ),
    "the status, the journal and a line at login": (
        "test_daemon.py",
        "test_reload_takes_up_the_configuration",
    ),
    "bootctl-py config and the journal warn of it": (
        "test_journal_promises.py",
        "test_files_that_are_not_read_are_warned_of",
    ),
    "told loudly: in the journal, and in the status": (
        "test_events.py",
        "test_each_event_of_the_catalogue_is_sent",
    ),
    "is in the journal as a warning": (
        "test_journal_promises.py",
        "test_a_conflict_that_matters_is_a_warning",
    ),
    "the journal has each verdict": ("test_journal_promises.py", "test_a_verdict_is_told"),
}
"""What texts say of the journal, and the test that looks there."""
NO_PROMISES = (
    "lines of the journal",
    "read lines of the journal",
    "at bus, journal and terminal",
    "test_no_text_forges_a_line_in_the_journal",
    "vfat keeps no journal",
    "the field job_id",
    "and had no journal",  # of a file system
    "configuration · journal",  # the module
    *("no journal is kept", "left nothing in the journal", "the journal cannot be read"),
)
"""What mentions it and promises nothing that would be there."""


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[*`]", "", text)).lower()


def texts() -> Iterator[tuple[Path, str]]:
    """What people read: pages, and the strings of the program but for its docstrings."""
    for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/man/*.md"), *ROOT.glob("dbus/*.xml")]:
        yield path, plain(path.read_text())
    for path in (ROOT / "bootd").rglob("*.py"):
        tree = ast.parse(path.read_text())
        statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            match node:
                case ast.Constant(value=str() as text) if id(node) not in statements:
                    yield path, plain(text)
                case _:
                    pass


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path)


def test_whoever_is_sent_to_the_journal_is_sent_by_a_text_that_is_tried() -> None:
    used = set()
    untried = []
    for path, text in texts():
        for place in re.finditer(r"\bjournal(?:ctl)?\b(?! = )", text):
            around = text[max(0, place.start() - 80) : place.end() + 80]
            known = {promise for promise in PROMISES if promise in around}
            used |= known
            if " " in text and not known and not any(one in around for one in NO_PROMISES):
                untried.append(f"{path.relative_to(ROOT)}: {around}")
    assert untried == []
    assert used == PROMISES.keys()


def test_each_promise_is_tried_by_a_test_that_is_there() -> None:
    for file, name in filter(None, PROMISES.values()):
        [path] = (ROOT / "tests").rglob(file)
        assert re.search(rf"^(?:async )?def {name}\(", path.read_text(), re.MULTILINE), name


def test_a_job_that_came_no_further_is_told_with_its_phase(
    caplog: pytest.LogCaptureFixture,
) -> None:
    step = Step("pulling", 1, 9, 0.1)
    job = Job(7, STAGE, StageRequest(), 0, datetime.now(UTC), JobState.FAILED, step)
    job.error = _no_progress(job, Limits(), over=False)
    tell_of_job(job)
    assert "the journal says what it was busy with" in job.error.hint
    assert "was ended while pulling" in caplog.text


def break_down(_channel: Channel) -> None:
    logging.getLogger().handlers.clear()  # pytest's
    journal.set_up()
    raise KeyError("what it needs")


def test_a_child_leaves_its_last_words(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    with machine.sysroot.lock(exclusive=True):
        child = ChildProcess(machine.sysroot, "the child", "the journal", break_down)
        child.start()
        with pytest.raises(ProcessFailedError, match="the child ended with status 1"):
            child.await_end()
        child.end()
    said = capfd.readouterr().err
    assert "the child failed" in said
    assert "KeyError: 'what it needs'" in said


def test_a_conflict_that_matters_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    announce(Event.ETC_SECURITY_CONFLICT, "3 paths", "ab.0", "3")
    [record] = caplog.records
    assert record.levelno == logging.WARNING


_FAULT = """
import sys
from bootd.model.errors import InternalError
from bootd.operations import __main__ as job
def fail(*_):
    raise InternalError("an invariant does not hold")
job._run = fail
sys.exit(job.main())
"""


async def test_a_fault_that_is_known_leaves_its_traceback_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = (sys.executable, "-P", "-c", _FAULT)
    with pytest.raises(InternalError, match="an invariant"):
        await Worker(tmp_path, command).run("check", {}, lambda _: None, 7)
    assert "in fail" in capfd.readouterr().err


def test_files_that_are_not_read_are_warned_of(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    folder = machine.folder / "etc/bootd/bootd.toml.d"
    folder.mkdir(parents=True)
    (folder / "10-mine.conf").touch()
    open_host(machine.folder)
    assert "10-mine.conf" in caplog.text


def test_what_confines_nobody_is_told(
    machine: Machine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "unconfined", lambda: "the kernel has no Landlock")
    stage(machine.host, Silent())
    assert "the kernel has no Landlock" in caplog.text


def test_a_verdict_is_told(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "bootd")
    policy = machine.folder / "etc/containers/policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    stage(machine.host, Silent())
    assert f"default allows {machine.reference}@sha256:" in caplog.text
    publish(machine.image, "v3")
    policy.write_text('{"default": [{"type": "reject"}]}')
    with pytest.raises(NotTrustedError, match=r"does not allow oci:.*\(default\)"):
        stage(machine.host, Silent())
