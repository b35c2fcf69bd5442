"""What every test gets: it fails if it leaves a thread, child, open file, mount or task behind."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import inspect
import os
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

_PATIENCE_SECONDS = 5.0
"""How long what is ending already may take to end."""
_LASTING = (b"multiprocessing.resource_tracker", b"multiprocessing.forkserver")
"""Children that Python starts once for the life of the process."""
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x00020000, 1 << 14, 1 << 18
"""unshare(2) and mount(2)."""


def pytest_configure() -> None:
    """Give root's tests a mount namespace of their own: what others mount is no leak of theirs."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    private = _MS_REC | _MS_PRIVATE
    if libc.unshare(_CLONE_NEWNS) != 0 or libc.mount(None, b"/", None, private, None) != 0:
        pytest.exit(f"no mount namespace for the tests: {os.strerror(ctypes.get_errno())}")


@pytest.fixture(scope="session", autouse=True)
def journal() -> None:
    """Have libsystemd open its socket to the journal, which it keeps as long as the process."""
    with suppress(ImportError):
        import systemd.journal  # noqa: PLC0415 - not every machine has it

        systemd.journal.send("the tests of bootd begin", PRIORITY="7")


def _threads() -> set[str]:
    return {f"thread {thread.name}" for thread in threading.enumerate()}


def _children() -> set[str]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            numbers = (task / "children").read_text().split()
        except FileNotFoundError:
            continue
        for number in numbers:
            try:
                command = Path(f"/proc/{number}/cmdline").read_bytes()
            except FileNotFoundError:
                continue
            if not any(name in command for name in _LASTING):
                found.add(f"child {number} {command.replace(bytes(1), b' ').decode()}")
    return found


def _files() -> set[str]:
    found = set()
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    lasting = None if tracker is None else tracker._resource_tracker._fd
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if int(link.name) != lasting and not target.startswith(("anon_inode:[pidfd]", "/proc/")):
            found.add(f"file {link.name} {target}")
    return found


def _mounts() -> set[str]:
    # Not by mount point: what others had mounted at the start moves when they rename its folder.
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {f"mount {line.split()[0]} of {line.partition(' - ')[2]}" for line in lines}


_KINDS: tuple[Callable[[], set[str]], ...] = (_threads, _children, _files, _mounts)


def _left_behind(before: set[str]) -> set[str]:
    return set().union(*(kind() for kind in _KINDS)) - before


def _close_spare_loop() -> None:
    """Close the loop that pytest-asyncio before 1.0, which is Debian 13's, leaves for nobody."""
    if pytest_asyncio.__version__.startswith("0."):
        with warnings.catch_warnings(), suppress(RuntimeError):
            warnings.simplefilter("ignore", DeprecationWarning)
            # Of Pythons before 3.14 alone, as is that version of pytest-asyncio.
            policy = asyncio.get_event_loop_policy()  # type: ignore[deprecated]
            policy.get_event_loop().close()


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Compare what is open before and after a test."""
    before = set().union(*(kind() for kind in _KINDS))
    yield
    _close_spare_loop()
    left = _left_behind(before)
    if left:
        gc.collect()
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while (left := _left_behind(before)) and time.monotonic() < give_up:
            time.sleep(0.02)
    assert not left, f"the test left behind: {sorted(left)}"


@pytest.fixture(autouse=True)
def ends_its_tasks(
    leaves_nothing_behind: None,  # noqa: ARG001 - the loop must be gone when that one looks
    request: pytest.FixtureRequest,
) -> None:
    """Look for unfinished asyncio tasks at the end of asynchronous tests."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("no_task_outlives_the_test")


@pytest.fixture
async def no_task_outlives_the_test() -> AsyncIterator[None]:
    """Fail if a task is still running when everything else is torn down."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"the test left tasks behind: {left}"
