"""Processes that write to the store with a job: they hold its lock, and their end is told."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from support.images import OCI_LAYER, tar_layer

from bootd import child as children
from bootd.model.digest import Digest
from bootd.model.errors import BusyError, CancelledError, InternalError, ProcessFailedError
from bootd.model.registry.image import Descriptor
from bootd.operations import layer_workers
from bootd.operations.layer_workers import LayerWorkers
from bootd.operations.pulling.channel import Channel
from bootd.operations.pulling.child_process import ChildProcess, wait_for
from bootd.operations.pulling.publisher import LayerPublisher
from bootd.operations.pulling.task import ImportedLayer, LayerTask
from bootd.registry.settings import RegistrySettings
from bootd.store.layer import import_layer
from bootd.store.layer_index import WrittenLayer
from bootd.store.layers import all_layers
from bootd.sysroot import Sysroot


@pytest.fixture
def sysroot(tmp_path: Path) -> Sysroot:
    made = Sysroot.at(tmp_path / "root")
    made.initialise()
    return made


@pytest.fixture
def locked(sysroot: Sysroot) -> Iterator[Sysroot]:
    with sysroot.lock(exclusive=True):
        yield sysroot


@contextmanager
def running(sysroot: Sysroot, work: Callable[..., None]) -> Iterator[ChildProcess]:
    child = ChildProcess(sysroot, "the child", "Look after it.", work)
    child.start()
    try:
        yield child
    finally:
        child.kill()
        child.end()


def idle(channel: Channel) -> None:
    channel.send(os.getpid())
    channel.receive()


def pid_of(child: ChildProcess) -> int:
    while not (said := child.channel.received()):
        child.look()
        wait_for([child], 1)
    [pid] = said
    return int(pid)


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


@contextmanager
def a_thread() -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def children_of_this_process() -> list[int]:
    own = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()
    return [int(one) for one in own.split()]


def holds_the_lock(pid: int, sysroot: Sysroot) -> bool:
    for opened in Path(f"/proc/{pid}/fd").iterdir():
        # A Python that is starting opens and closes others meanwhile.
        if opened.exists() and opened.resolve() == sysroot.store / "lock":
            return "WRITE" in Path(f"/proc/{pid}/fdinfo/{opened.name}").read_text()
    return False


def test_child_holds_the_lock_when_the_job_lets_go_of_it(sysroot: Sysroot) -> None:
    with sysroot.lock(exclusive=True):
        child = ChildProcess(sysroot, "the child", "", idle)
        child.start()
    with pytest.raises(BusyError), sysroot.lock(exclusive=True):
        pass
    child.channel.finish()
    child.await_end()
    child.end()
    with sysroot.lock(exclusive=True):
        pass


@pytest.mark.parametrize("exclusive", [None, False])
def test_without_the_lock_there_is_no_child(sysroot: Sysroot, exclusive: bool | None) -> None:
    held = nullcontext() if exclusive is None else sysroot.lock(exclusive=exclusive)
    child = ChildProcess(sysroot, "the child", "", idle)
    with held, pytest.raises(InternalError, match="does not hold its lock"):
        child.start()


def test_lock_of_somebody_else_does_not_count(locked: Sysroot) -> None:
    with running(locked, idle):
        other = Sysroot.at(locked.physical.with_name("other"))
        other.initialise()
        with pytest.raises(InternalError, match="does not hold its lock"):
            other.exclusive_lock()


def test_child_of_a_process_with_threads_holds_the_lock(locked: Sysroot) -> None:
    layer = tar_layer({"usr/a": b"a" * 99})
    written = import_layer(locked, [layer], media_type=OCI_LAYER, diff_id=Digest.of(layer))
    with a_thread(), LayerPublisher(locked) as publisher:
        [pid] = children_of_this_process()
        assert holds_the_lock(pid, locked)
        publisher.add(written)
    assert all_layers(locked) == [written.diff_id]


def test_cancellation_in_the_moment_of_a_fork_is_not_lost(locked: Sysroot) -> None:
    def cancel(*_: object) -> None:
        raise CancelledError("no longer wanted")

    child = ChildProcess(locked, "the child", "", idle)
    before = signal.signal(signal.SIGTERM, cancel)
    armed = [True]

    def disturb() -> None:
        if armed:
            armed.clear()
            signal.raise_signal(signal.SIGTERM)

    # There is no way to take it back, so it does nothing from the second time on.
    os.register_at_fork(after_in_parent=disturb)
    try:
        with pytest.raises(CancelledError):
            child.start()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not child.is_alive


def end_with_status(_: Channel) -> None:
    os._exit(7)


def fail(_: Channel) -> None:
    raise KeyError("what it needs")


def be_killed(_: Channel) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (end_with_status, "the child ended with status 7"),
        (fail, "the child ended with status 1"),
        (be_killed, "the child was killed by SIGKILL"),
    ],
)
def test_how_it_ended_is_told(locked: Sysroot, work: Callable[..., None], told: str) -> None:
    with running(locked, work) as child, pytest.raises(ProcessFailedError, match=told):
        child.await_end()


def test_child_that_is_stopped_is_given_up(
    locked: Sysroot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "STOPPED_SECONDS", 0.0)
    with running(locked, idle) as child:
        stop(pid_of(child))
        with pytest.raises(ProcessFailedError, match="the child was stopped for"):
            child.await_end()


def test_child_that_goes_on_is_waited_for(locked: Sysroot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "STOPPED_SECONDS", 60.0)
    with running(locked, idle) as child:
        pid = pid_of(child)
        stop(pid)
        child.look()
        os.kill(pid, signal.SIGCONT)
        child.channel.finish()
        child.await_end()


def test_full_channel_to_a_dead_child_keeps_nobody_waiting(locked: Sysroot) -> None:
    with running(locked, idle) as child:
        pid = pid_of(child)
        stop(pid)
        while child.channel.send("word", wait=False):
            pass
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ProcessFailedError, match="SIGKILL"):
            child.send("another word")


def test_child_that_does_not_go_is_killed(
    locked: Sysroot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(children, "LEAVE_SECONDS", 0.1)
    with running(locked, idle) as child:
        pid = pid_of(child)
        stop(pid)
        child.channel.finish()
        child.end()
        assert not Path(f"/proc/{pid}").exists()
        child.look()
    assert "the child does not end and is killed" in caplog.text


def test_nobody_else_forks() -> None:
    folder = Path(children.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text()
        assert "os.fork(" not in text or path == folder / "child.py", path
        assert "multiprocessing" not in text, path


def import_and_die(channel: Channel, *_: object) -> None:
    written = WrittenLayer(Digest.of(b""), Path("index"), 0, 0)
    channel.send(ImportedLayer(written, 5))
    os.kill(os.getpid(), signal.SIGKILL)


def test_importer_that_dies_after_its_last_layer_is_told(
    locked: Sysroot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_workers, "_import_layers", import_and_die)
    task = LayerTask(
        locked,
        RegistrySettings(root=locked.physical),
        "registry.example/os:1",
        Descriptor(media_type=OCI_LAYER, digest=Digest.of(b""), size=5),
        Digest.of(b""),
        by_parts=False,
        trust_tables=False,
    )
    with pytest.raises(ProcessFailedError, match="imported a layer was killed by SIGKILL"):
        import_all(LayerWorkers([task], 1))


def import_all(workers: LayerWorkers) -> None:
    with workers:
        while workers.are_busy:
            list(workers.wait(1))
