"""Jobs: one at a time, joined, waiting, refused, ended, remembered for a while."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.worker_script import done, worker

from bootd.daemon.jobs import MAX_ENDED, MAX_WAITING, Job, JobRunner, JobState, Limits
from bootd.daemon.worker import Worker
from bootd.model.errors import (
    BootdError,
    BusyError,
    HeldError,
    InternalError,
    NoProgressError,
)
from bootd.operations.jobs.kind import JobKind
from bootd.operations.jobs.request import NoArguments, make_request
from bootd.operations.jobs.table import CHECK, COLLECT, ROLLBACK, STAGE


class Numbered(NoArguments):
    """A request of which there are many."""

    of: int


_Asked = tuple[JobKind[Any], dict[str, Any]]

_AUTOMATIC: _Asked = (STAGE, {"automatic": True})
_NUMBERED = replace(CHECK, request=Numbered)
_WAITS = "progress(0.1)\nsys.stdin.read()\nsay(event='error', code='cancelled', message='so be it')"


class Listener:
    """Keeps what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.progress: list[float] = []
        self._changed = asyncio.Event()

    def job_new(self, job: Job) -> None:
        self._note("new", job)

    def job_advanced(self, job: Job) -> None:
        self.progress.append(job.step.overall)
        self._note("advanced", job)

    def job_ended(self, job: Job) -> None:
        self._note("ended", job)

    def job_forgotten(self, job: Job) -> None:
        self._note("forgotten", job)

    async def until(self, what: str, number: int = 1) -> None:
        while (what, number) not in self.told:
            self._changed.clear()
            await self._changed.wait()

    def _note(self, what: str, job: Job) -> None:
        self.told.append((what, job.id))
        self._changed.set()


class Bench:
    """A runner whose children do what a test says."""

    def __init__(self, body: str, *, kill_after: float = 5, **more: Any) -> None:
        self.listener = Listener()
        self.settled: list[tuple[JobState, str, BootdError | None]] = []
        child = Worker(None, worker(body), kill_after=kill_after)
        self.runner = JobRunner(child, self.listener, self._settle, **more)

    async def _settle(self, job: Job, _outcome: dict[str, Any] | BootdError) -> None:
        self.settled.append((job.state, job.result, job.error))

    def ask(self, kind: JobKind[Any], arguments: dict[str, Any], requester: int) -> Job:
        return self.runner.start(kind, make_request(kind.request, arguments), requester)

    async def finish(self, kind: JobKind[Any] = CHECK, **arguments: object) -> Job:
        job = self.ask(kind, arguments, 0)
        await self.listener.until("ended", job.id)
        return job


async def test_job_tells_its_life_and_leaves_a_result():
    bench = Bench("progress(0.25)\nprogress(0.5, done=2)\n" + done(answer=42))
    job = await bench.finish(STAGE, reference="registry.example/image")
    assert job.state is JobState.DONE
    assert json.loads(job.result) == {"answer": 42}
    assert job.step.overall == 1.0
    assert job.step.done == job.step.total == 2
    assert bench.listener.told[0] == ("new", 1)
    assert bench.listener.told[-1] == ("ended", 1)
    assert bench.settled == [(JobState.RUNNING, "", None)], "settled before any of the end is told"


async def test_child_gets_the_request():
    bench = Bench("say(event='result', document=request)")
    job = await bench.finish(STAGE, reference="registry.example/image", remember=True)
    assert json.loads(job.result) == {
        "operation": "stage",
        "arguments": {"reference": "registry.example/image", "remember": True},
        "sysroot": None,
        "job": 1,
    }


async def test_progress_never_goes_back_nor_over_the_end():
    bench = Bench("[progress(at) for at in (0.1, 0.6, 0.3, 7.0, 0.2)]\n" + done())
    await bench.finish()
    assert bench.listener.progress == [0.1, 0.6, 0.6, 1.0, 1.0]


async def test_same_request_joins_and_another_of_people_is_refused():
    bench = Bench(_WAITS)
    first = bench.ask(STAGE, {"reference": "registry.example/image:a"}, 0)
    assert bench.ask(STAGE, {"reference": "registry.example/image:a"}, 1000) is first
    assert first.requester == 0
    for kind, arguments in ((STAGE, {"reference": "registry.example/image:b"}), (COLLECT, {})):
        with pytest.raises(BusyError, match=r"job 1 \(stage\) is running"):
            bench.ask(kind, arguments, 0)
    await bench.runner.stop()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((CHECK, {}), _AUTOMATIC),
        ((STAGE, {}), _AUTOMATIC),
        ((COLLECT, {}), _AUTOMATIC),
        (_AUTOMATIC, (STAGE, {})),
        (_AUTOMATIC, (ROLLBACK, {})),
        ((CHECK, {}), (ROLLBACK, {})),
        ((STAGE, {}), (CHECK, {})),
        (_AUTOMATIC, (CHECK, {})),
    ],
)
async def test_who_gives_way_waits_and_has_its_turn(first: _Asked, second: _Asked):
    bench = Bench(_WAITS)
    ahead = bench.ask(*first, 1000)
    waiting = bench.ask(*second, 0)
    assert (waiting.state, bench.runner.running) == (JobState.WAITING, ahead)
    assert bench.ask(*second, 7) is waiting
    bench.runner.cancel(ahead)
    await bench.listener.until("ended", ahead.id)
    assert (waiting.state, bench.runner.running) == (JobState.RUNNING, waiting)
    await bench.runner.stop()


async def test_a_person_comes_before_the_timer_and_not_before_another():
    bench = Bench(_WAITS)
    check = bench.ask(CHECK, {}, 1000)
    timer = bench.ask(*_AUTOMATIC, 0)
    person = bench.ask(ROLLBACK, {}, 0)
    with pytest.raises(BusyError, match=r"job 3 \(rollback\) is waiting"):
        bench.ask(COLLECT, {}, 0)
    bench.runner.cancel(check)
    await bench.listener.until("ended", check.id)
    assert (person.state, timer.state) == (JobState.RUNNING, JobState.WAITING)
    await bench.runner.stop()


async def test_those_that_wait_are_bounded_but_for_the_timer():
    bench = Bench(_WAITS)
    bench.ask(*_AUTOMATIC, 0)
    for number in range(MAX_WAITING):
        bench.ask(_NUMBERED, {"of": number}, 1000)
    with pytest.raises(BusyError, match=r"job 1 \(stage\)"):
        bench.ask(_NUMBERED, {"of": MAX_WAITING}, 1000)
    await bench.runner.stop()
    bench = Bench(_WAITS)
    for number in range(MAX_WAITING + 1):
        bench.ask(_NUMBERED, {"of": number}, 1000)
    assert bench.ask(*_AUTOMATIC, 0).state is JobState.WAITING
    await bench.runner.stop()


async def test_what_waits_can_be_cancelled_and_stops_with_the_daemon():
    bench = Bench(_WAITS)
    bench.ask(CHECK, {}, 0)
    waiting = [bench.ask(_NUMBERED, {"of": number}, 0) for number in range(2)]
    bench.runner.cancel(waiting[0])
    assert waiting[0].state is JobState.CANCELLED
    assert ("ended", 2) in bench.listener.told
    await bench.runner.stop()
    assert waiting[1].state is JobState.CANCELLED
    assert len(bench.settled) == 1, "what never ran has nothing to settle"


async def test_what_nobody_asked_for_ends_with_the_reason():
    bench = Bench(_WAITS)
    running = bench.ask(*_AUTOMATIC, 0)
    await bench.listener.until("advanced")
    person = bench.ask(COLLECT, {}, 0)
    bench.runner.cancel_automatic(HeldError("updates are held: exams"))
    await bench.listener.until("ended", running.id)
    assert isinstance(running.error, HeldError)
    assert person.state is JobState.RUNNING
    waiting = bench.ask(*_AUTOMATIC, 0)
    bench.runner.cancel_automatic(HeldError("updates are held: exams"))
    assert isinstance(waiting.error, HeldError)
    assert person.state is JobState.RUNNING
    await bench.runner.stop()


_ENDLESS = """
at = 0
while True:
    at += {step}
    say(event='progress', phase='pulling', done=at, total=10 ** 9, overall=0.1)
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("body", "limits", "told"),
    [
        (_WAITS, Limits(0.2, 600), "came no further"),
        ("time.sleep(600)", Limits(0.2, 600), "while starting"),
        (_ENDLESS.format(step=0), Limits(0.2, 600), "came no further"),
        (_ENDLESS.format(step=1), Limits(600, 1), "was not done"),
    ],
)
async def test_a_job_that_does_not_end_is_ended(body: str, limits: Limits, told: str):
    bench = Bench(body, limits=lambda: limits)
    job = bench.ask(STAGE, {}, 0)
    waiting = bench.ask(CHECK, {}, 0)
    await bench.listener.until("ended", job.id)
    assert job.state is JobState.FAILED
    assert isinstance(job.error, NoProgressError)
    assert told in job.error.message
    assert waiting.state is JobState.RUNNING
    await bench.runner.stop()


async def test_what_goes_on_without_counting_is_not_ended():
    silent = "[(progress(0.1, total=0), time.sleep(0.2)) for _ in range(30)]\n"
    bench = Bench(silent + done(answer=42), limits=lambda: Limits(4.0, 600))
    job = await bench.finish(COLLECT)
    assert job.state is JobState.DONE


async def test_cancel_is_polite_and_the_next_job_runs():
    bench = Bench(
        "signal.signal(signal.SIGTERM, lambda *_: (say(event='error', code='cancelled',"
        " message='stopped in good order', hint='h'), sys.exit(1)))\n" + _WAITS
    )
    job = bench.ask(STAGE, {}, 0)
    await bench.listener.until("advanced")
    bench.runner.cancel(job)
    bench.runner.cancel(job)
    await bench.listener.until("ended")
    assert job.state is JobState.CANCELLED
    assert job.error is not None
    assert job.error.message == "stopped in good order"
    bench.runner.cancel(job)
    assert job.state is JobState.CANCELLED
    assert bench.ask(COLLECT, {}, 0).id == 2
    await bench.runner.stop()


async def test_child_that_finishes_although_cancelled_is_done():
    bench = Bench(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprogress(0.9)\n"
        "sys.stdin.read(0)\ntime.sleep(0.2)\n" + done(committed=True)
    )
    job = bench.ask(ROLLBACK, {}, 0)
    await bench.listener.until("advanced")
    bench.runner.cancel(job)
    await bench.listener.until("ended")
    assert (job.state, json.loads(job.result)) == (JobState.DONE, {"committed": True})


async def test_child_that_will_not_stop_is_killed():
    bench = Bench(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprogress(0.5)\ntime.sleep(600)",
        kill_after=0.1,
    )
    job = bench.ask(STAGE, {}, 0)
    await bench.listener.until("advanced")
    bench.runner.cancel(job)
    await bench.listener.until("ended")
    assert job.state is JobState.CANCELLED


async def test_stop_cancels_what_runs():
    bench = Bench(_WAITS)
    job = bench.ask(STAGE, {}, 0)
    await bench.runner.stop()
    assert job.state is JobState.CANCELLED
    await bench.runner.stop()


async def test_ended_jobs_are_bounded_in_number():
    bench = Bench(done())
    for _ in range(MAX_ENDED + 3):
        await bench.finish()
    forgotten = [number for what, number in bench.listener.told if what == "forgotten"]
    assert forgotten == [1, 2]


async def test_ended_jobs_are_bounded_in_time():
    bench = Bench(done(), linger_seconds=0.01)
    await bench.finish()
    await bench.listener.until("forgotten")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            "say(event='error', code='no-space', message='3 bytes', hint='free some')",
            "no-space",
            "3 bytes",
        ),
        ("say(event='error', code='of-the-future', message='?')", "internal", "?"),
        ("sys.exit(3)", "internal", "ended with status 3 without a result"),
        ("os.kill(os.getpid(), 9)", "internal", "was killed by SIGKILL without a result"),
        ("print('Hello', flush=True)", "internal", "wrote b'Hello"),
        ("print('[1]', flush=True)", "internal", "wrote"),
        ("print('[' * 100000, flush=True)", "internal", "wrote"),
        ("say(event='party')", "internal", "wrote"),
        ("say(event='result', document=[])", "internal", "wrote"),
        ("say(event='progress', phase='x')", "internal", "no progress"),
        ("progress(0.1, done=-1)", "internal", "negative"),
        ("progress('much')", "internal", "no progress"),
        ("sys.stdout.write('{'); sys.stdout.flush()", "internal", "without a result"),
    ],
)
async def test_child_that_fails(body: str, code: str, message: str):
    bench = Bench(body)
    job = await bench.finish()
    assert bench.settled == [(JobState.RUNNING, "", None)]
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == code
    assert message in job.error.message


_HEIR = (
    "import subprocess; heir = subprocess.Popen(['sleep', '60']).pid\n"
    "progress(0.5, done=heir, total=heir)\n"
)


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (_HEIR + "os.kill(os.getpid(), 9)", JobState.FAILED),
        (_HEIR + done(answer=42), JobState.DONE),
        (_HEIR + "time.sleep(60)", JobState.CANCELLED),
    ],
)
async def test_child_that_leaves_somebody_with_its_output(body: str, state: JobState):
    before = _open_files()
    bench = Bench(body)
    job = bench.ask(CHECK, {}, 0)
    await bench.listener.until("advanced")
    if state is JobState.CANCELLED:
        bench.runner.cancel(job)
    async with asyncio.timeout(30):
        await bench.listener.until("ended")
    assert job.state is state
    os.kill(job.step.total, signal.SIGKILL)
    while _open_files() > before:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


_STOPPED = """
heir = os.fork()
if not heir:
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)
os.waitid(os.P_PID, heir, os.WSTOPPED)
progress(0.5, done=heir, total=heir)
"""


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", done(answer=42)])
async def test_what_a_child_left_stopped_goes_on(end: str):
    bench = Bench(_STOPPED + end)
    job = bench.ask(CHECK, {}, 0)
    await bench.listener.until("ended")
    assert bench.listener.progress
    async with asyncio.timeout(30):
        while _is_stopped(job.step.total):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def _is_stopped(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] == "T"


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_line_without_end_has_a_bound():
    body = "sys.stdout.write('x' * 100000); sys.stdout.flush()\nsys.stdin.read()"
    child = Worker(None, worker(body), max_line=4_096)
    with pytest.raises(InternalError, match="a line of more than 4096 bytes"):
        await child.run("check", {}, lambda _: None)


async def test_worker_that_is_not_there():
    with pytest.raises(InternalError, match="could not be started"):
        await Worker(None, ("/nonexistent/worker",)).run("check", {}, lambda _: None)


async def test_failing_settlement_does_not_keep_a_job_from_ending(
    caplog: pytest.LogCaptureFixture,
):
    async def fail(job: Job, _outcome: object) -> None:
        raise RuntimeError(f"no status after {job.kind.name}")

    listener = Listener()
    runner = JobRunner(Worker(None, worker(done())), listener, fail)
    job = runner.start(CHECK, NoArguments(), 0)
    await listener.until("ended")
    assert job.state is JobState.DONE
    assert "could not be taken up" in caplog.text


async def test_what_etc_holds_is_not_in_a_public_result():
    secret = {"type": "file", "digest": "ab" * 32, "size": 7, "mode": "0600"}
    conflict = {"path": "/etc/shadow", "kind": "content"}
    sides = {"base": secret, "mine": secret, "theirs": secret}
    report = {"kind": "EtcReport", "conflicts": [{**conflict, **sides}]}
    shown = {"type": "file"}
    public = {
        "kind": "EtcReport",
        "conflicts": [{**conflict, "base": shown, "mine": shown, "theirs": shown}],
    }
    for document, expected in (
        (report, public),
        ({"kind": "Stage", "etc": report, "to_come": 1}, {"kind": "Stage", "etc": public}),
    ):
        job = await Bench(done(**document)).finish()
        assert json.loads(job.result) == document
        assert json.loads(job.public_result) == expected
