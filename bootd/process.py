"""The one gateway to other programs: bounded in time and output, no shell, a fixed locale."""

from __future__ import annotations

import logging
import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.model.errors import ProcessFailedError

_log = logging.getLogger(__name__)

DEFAULT_TIMEOUT: Final = 60.0
_SHOWN_STDERR: Final = 2_000
_READ_BYTES: Final = 65_536


def run(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    stdin: bytes = b"",
    timeout: float = DEFAULT_TIMEOUT,
    expected: Sequence[int] = (0,),
    descriptors: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and return its output.

    Args:
        arguments: the program, looked up in PATH, and its arguments.
        stdin: all it reads.
        timeout: seconds after which it is killed.
        expected: exit statuses that are not failures.
        descriptors: open files that it gets under their numbers, as ``/proc/self/fd/N``.
        environment: what it gets besides this process's own; never logged.

    Raises:
        ProcessFailedError: it could not be started, ran too long or ended otherwise.
    """
    words = [os.fspath(argument) for argument in arguments]
    _log.debug("running %s", words)
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
            pass_fds=descriptors,
            env={**os.environ, **(environment or {}), "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError as error:
        raise ProcessFailedError(
            f"{words[0]} is not installed", hint=f"Install the package that has {words[0]}."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ProcessFailedError(f"{words[0]} did not end within {timeout:g} s") from error
    except OSError as error:
        raise ProcessFailedError(f"{words[0]} could not be started: {error}") from error
    if done.returncode not in expected:
        said = done.stderr[-_SHOWN_STDERR:].decode(errors="replace").strip()
        raise ProcessFailedError(f"{words[0]} ended with status {done.returncode}: {said}")
    return done


def feed(
    arguments: Sequence[str], text: bytes, environment: Mapping[str, str] | None = None
) -> None:
    """Give a text to a program that shares this one's terminal, a pager, and wait for its end.

    Raises:
        ProcessFailedError: it could not be started.
    """
    try:
        subprocess.run(
            arguments, input=text, check=False, env={**os.environ, **(environment or {})}
        )
    except OSError as error:
        raise ProcessFailedError(f"{arguments[0]} could not be started: {error}") from error


def edit(text: bytes, name: str) -> bytes:
    """Let the person at this terminal change a text, in the editor they set up; return it.

    Args:
        text: what to begin with.
        name: what to call the file; editors look at it.

    Raises:
        ProcessFailedError: there is no editor, or it ended with an error.
    """
    asked = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    words = shlex.split(asked) if asked else [shutil.which("editor") or "vi"]
    with tempfile.TemporaryDirectory(prefix="bootd-edit-") as folder:
        path = Path(folder) / name
        path.write_bytes(text)
        try:
            done = subprocess.run([*words, path], check=False)
        except (OSError, IndexError) as error:
            raise ProcessFailedError(
                f"the editor {asked or words[0]!r} could not be started: {error}",
                hint="Set EDITOR to one that is installed.",
            ) from error
        if done.returncode != 0:
            raise ProcessFailedError(f"{words[0]} ended with status {done.returncode}")
        return path.read_bytes()


def how_it_ended(status: int) -> str:
    """Return in words how a child ended: its exit status, or the negative of a signal's number."""
    if status >= 0:
        return f"ended with status {status}"
    if status == -signal.SIGSYS:
        return (
            "was killed by SIGSYS, for a system call that a filter forbids; the kernel's log names "
            "it (audit type 1326)"
        )
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a supervised program ended.

    Attributes:
        status: its exit status; negative: the signal that killed it.
        timed_out: it was killed because its time was over.
        output: the end of what it said on both outputs.
    """

    status: int
    timed_out: bool
    output: bytes


def supervise(
    arguments: Sequence[str | os.PathLike[str]], *, timeout: float, output_limit: int
) -> Ended:
    """Run somebody else's program, which may hang, talk without end or leave children behind.

    It gets a session of its own, nothing to read, and is killed with all of its session when the
    time is over. A child that outlives it, with the output still open, is not waited for.

    Args:
        arguments: the program and its arguments.
        timeout: seconds.
        output_limit: how many bytes of output are kept, the last ones.

    Raises:
        ProcessFailedError: it could not be started.
    """
    words = [os.fspath(argument) for argument in arguments]
    _log.debug("supervising %s", words)
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except OSError as error:
        raise ProcessFailedError(f"{words[0]} could not be started: {error.strerror}") from error
    over = threading.Event()
    timer = threading.Timer(timeout, _end_session, (child.pid, over))
    with child:
        timer.start()
        try:
            output = _last_output(child, output_limit)
        finally:
            timer.cancel()
            timer.join()
            _end_session(child.pid)
    killed = over.is_set() and child.returncode == -signal.SIGKILL
    return Ended(status=child.returncode, timed_out=killed, output=output)


def _end_session(leader: int, over: threading.Event | None = None) -> None:
    if over is not None:
        over.set()
    # The group is gone where the leader has ended and left nobody.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _last_output(child: subprocess.Popen[bytes], limit: int) -> bytes:
    """Read until the child has ended; return the end of what it wrote."""
    assert child.stdout is not None
    stream = child.stdout.fileno()
    os.set_blocking(stream, False)
    kept = bytearray()
    ended = os.pidfd_open(child.pid)
    try:
        waiting = [stream, ended]
        while ended in waiting:
            ready, _, _ = select.select(waiting, [], [])
            if stream in ready and not _read_into(kept, stream, limit):
                waiting.remove(stream)
            if ended in ready:
                waiting.remove(ended)
        if stream in waiting:
            _read_into(kept, stream, limit)
    finally:
        os.close(ended)
    return bytes(kept)


def _read_into(kept: bytearray, stream: int, limit: int) -> bool:
    """Read what is there, up to the pipe's size; return whether more can come."""
    try:
        data = os.read(stream, _READ_BYTES)
    except BlockingIOError:
        return True
    kept += data
    del kept[: max(0, len(kept) - limit)]
    return bool(data)
