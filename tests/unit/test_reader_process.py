"""A process that reads what nobody vouches for: what it answers, and how its end is told."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootd.model.errors import InvalidLayerError, ProcessFailedError
from bootd.process import how_it_ended
from bootd.sandbox import reader_process
from bootd.sandbox.reader_process import ReaderProcess, Work

Write = Callable[[bytes], None]
_SILENT = "bootd.sandbox.reader_process._SILENT_SECONDS"


def upper(pieces: Iterator[bytes], write: Write) -> None:
    for piece in pieces:
        write(piece.upper())


def refuse(pieces: Iterator[bytes], write: Write) -> None:
    write(b"begun")
    next(pieces)
    raise InvalidLayerError("a layer is odd", hint="Build it anew.")


def end_with_status(_: Iterator[bytes], _write: Write) -> None:
    os._exit(7)


def fail(_: Iterator[bytes], _write: Write) -> None:
    raise KeyError("what it needs")


def take_memory(_: Iterator[bytes], write: Write) -> None:
    write(bytes(2 << 30))


def only_read(pieces: Iterator[bytes], _write: Write) -> None:
    for _piece in pieces:
        pass


def answers(work: Work, data: bytes = b"") -> bytes:
    came = []
    with ReaderProcess("the reader", "Look after it.", work) as process:
        view = memoryview(data)
        while view:
            taken, answer = process.exchange(view)
            view = view[taken:]
            came.append(answer)
        process.finish()
        while answer := process.receive():
            came.append(answer)
    return b"".join(came)


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
def test_all_goes_in_and_all_comes_out(size: int) -> None:
    assert answers(upper, b"a" * size) == b"A" * size


def test_refusal_is_told_by_its_class() -> None:
    with pytest.raises(InvalidLayerError, match="a layer is odd") as told:
        answers(refuse, b"x" * 3_000_000)
    assert told.value.hint == "Build it anew."


@pytest.mark.parametrize(
    ("work", "told", "said"),
    [
        (end_with_status, "the reader ended with status 7", ""),
        (fail, "the reader ended with status 1", "KeyError: 'what it needs'"),
        (take_memory, "the reader ended with status 1", "more memory than it may take"),
    ],
)
def test_how_it_ended_is_told(
    work: Work, told: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ProcessFailedError, match=told):
        answers(work, b"x" * 3_000_000)
    assert said in caplog.text


def pid_of(process: ReaderProcess) -> int:
    own = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text()
    del process
    return int(own.split()[-1])


def test_one_that_is_killed_is_told() -> None:
    with ReaderProcess("the reader", "", only_read) as process:
        os.kill(pid_of(process), signal.SIGKILL)
        with pytest.raises(ProcessFailedError, match="the reader was killed by SIGKILL"):
            process.receive()


@pytest.mark.parametrize(
    ("limit", "told"),
    [("bootd.child.STOPPED_SECONDS", "was stopped"), (_SILENT, "did nothing")],
)
def test_one_that_goes_on_no_more_is_given_up(
    monkeypatch: pytest.MonkeyPatch, limit: str, told: str
) -> None:
    monkeypatch.setattr(reader_process, "_LOOK_MILLISECONDS", 10)
    monkeypatch.setattr(limit, 0.0)
    with ReaderProcess("the reader", "", only_read) as process:
        pid = pid_of(process)
        if limit != _SILENT:
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ProcessFailedError, match=f"the reader {told} for 0 s"):
            process.receive()
    assert not Path(f"/proc/{pid}").exists()


def test_it_ends_when_nobody_wants_its_answer() -> None:
    with ReaderProcess("the reader", "", upper) as process:
        pid = pid_of(process)
        process.exchange(memoryview(b"x" * 100_000))
    assert not Path(f"/proc/{pid}").exists()


def test_words_that_are_no_refusal_do_not_become_one() -> None:
    for words in (
        b"",
        b"[" * 10_000,
        b'{"code": "busy", "message": "", "hint": ""}',
        b'{"code": "os.system"}',
        b'{"code": ["invalid-layer"], "message": "", "hint": ""}',
        b"\xff",
    ):
        assert reader_process._refusal(words) is None


def test_filtered_call_is_told_as_one() -> None:
    assert "a system call that a filter forbids" in how_it_ended(-signal.SIGSYS)
