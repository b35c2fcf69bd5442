"""A process that reads bytes which nobody vouches for: it is given them, answers, and has no power.

It is a fork, so that it has all modules at once. Of its parent's open files it has nothing but its
ends of two rings (`bootd.sandbox.ring`), one for what it reads and one for what it answers, and a
pipe for its last words. Whoever started it takes the answer for as hostile as what went in.

A fork of a process with threads is safe here, since it takes no lock that another thread may have
held: it reads, computes, writes and ends. Each reader ends with its parent.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, Self

from bootd.child import DEATH_SECONDS, Child
from bootd.clock import SYSTEM_CLOCK
from bootd.model.errors import (
    BootdError,
    ContentError,
    ProcessFailedError,
    registered_errors,
)
from bootd.model.text import one_line
from bootd.sandbox.confinement import confine_reader
from bootd.sandbox.ring import Ring, RingError
from bootd.startup import collect_garbage

_log = logging.getLogger(__name__)

Work = Callable[[Iterator[bytes], Callable[[bytes], None]], None]
"""Gets what is read, in pieces, and what takes the answer; raises `ContentError` to refuse."""

_MEMORY: Final = 768 << 20
"""What a Zstandard frame with the largest window takes, or a map of a million sparse segments."""
_WORDS_LIMIT: Final = 16 << 10
_LOOK_MILLISECONDS: Final = 1_000
_SILENT_SECONDS: Final = 600.0
"""How long it may take neither input nor give output while it is waited for."""


class ReaderProcess:
    """A child of this process; a context manager that ends it.

    Args:
        who: what errors call it.
        hint: what to do when it died.
        work: what it does.
    """

    def __init__(self, who: str, hint: str, work: Work) -> None:
        self._who = who
        self._child = Child(who, hint)
        self._has_ended = False
        self._input, self._answer = Ring(), Ring()
        self._words, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self._child.fork(lambda: _read(self._input, self._answer, theirs, work))
        except BaseException:
            self.__exit__()
            raise
        finally:
            os.close(theirs)
        self._input.keep_sending_end()
        self._answer.keep_receiving_end()
        own = (self._input.filled[1], self._input.freed[0], *self._answer.filled[:1])
        for descriptor in (*own, self._answer.freed[1], self._words):
            os.set_blocking(descriptor, False)
        self._poll = select.poll()
        self._poll.register(self._answer.filled[0], select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever it does."""
        self._input.close()
        self._answer.close()
        if self._words >= 0:
            os.close(self._words)
            self._words = -1
        self._child.end(kill=True)

    def exchange(self, data: memoryview, *, left_out: bool = False) -> tuple[int, bytes]:
        """Give it the beginning of data, or take a piece of its answer, whatever is possible first.

        Args:
            data: at least a byte.
            left_out: it is told how many bytes there are, not which.

        Returns:
            How much of the data it took, and the piece, which may be empty. When it has ended it
            takes all.

        Raises:
            ContentError: it refuses what it read.
            ProcessFailedError: it died, or does nothing any more.
        """
        if self._has_ended:
            return len(data), b""
        if not self._input.has_room():
            if self._answer.has_heard_of_more:
                return 0, self._taken()
            freed = self._input.freed[0]
            self._poll.register(freed, select.POLLIN)
            try:
                ready = self._wait()
            finally:
                self._poll.unregister(freed)
            if self._answer.filled[0] in ready:
                return 0, self._taken()
            if not self._input.hear():
                return 0, self.receive()
        try:
            return self._input.send(data, left_out=left_out), b""
        except BrokenPipeError:
            # It will say why.
            return 0, self.receive()
        except RingError as error:
            raise self._child.failed(f"told of what cannot be: {error}") from error

    def finish(self) -> None:
        """Tell it that no more data comes."""
        self._input.finish()

    def is_ready(self) -> bool:
        """Return whether `receive` need not wait."""
        return self._has_ended or self._answer.has_heard_of_more or bool(self._poll.poll(0))

    def receive(self) -> bytes:
        """Wait for the next piece of its answer, and return it; empty when it has ended well.

        Raises:
            ContentError: it refuses what it read.
            ProcessFailedError: it died, or does nothing any more.
        """
        while not self._has_ended:
            if not self._answer.has_heard_of_more:
                self._wait()
            if came := self._taken():
                return came
        return b""

    def _taken(self) -> bytes:
        try:
            data = self._answer.receive()
        except RingError as error:
            raise self._child.failed(f"told of what cannot be: {error}") from error
        if data == b"":
            self._has_ended = True
            self._see_how_it_ended()
        return data or b""

    def _wait(self) -> set[int]:
        """Return which of its pipes are ready."""
        began = SYSTEM_CLOCK.monotonic()
        while not (ready := self._poll.poll(_LOOK_MILLISECONDS)):
            self._child.look()
            if SYSTEM_CLOCK.monotonic() - began > _SILENT_SECONDS:
                raise self._child.failed(
                    f"did nothing for {_SILENT_SECONDS:.0f} s and was given up"
                )
        return {descriptor for descriptor, _ in ready}

    def _see_how_it_ended(self) -> None:
        if not self._child.wait(DEATH_SECONDS):
            raise self._child.failed("does not end")
        words = b""
        with suppress(BlockingIOError):
            words = os.read(self._words, _WORDS_LIMIT)
        if refusal := _refusal(words):
            raise refusal
        try:
            self._child.look()
        except ProcessFailedError:
            if words:
                _log.warning("%s said: %s", self._who, one_line(words.decode(errors="replace")))
            raise


def _refusal(words: bytes) -> ContentError | None:
    """Return the error about the bytes that was read; None where that is none."""
    try:
        said: Any = json.loads(words)
        kind = registered_errors()[said["code"]]
        message, hint = str(said["message"]), str(said["hint"])
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    return kind(message, hint=hint) if issubclass(kind, ContentError) else None


def _read(given: Ring, answer: Ring, words: int, work: Work) -> int:
    """Be the child: have nothing but the rings, do the work, say how it ended."""
    status = 1
    last_words = b""
    try:
        collect_garbage(on=False)
        _take_over(given, answer, words)
        confine_reader(_MEMORY)
        work(_pieces(given), lambda data: _write(answer, data))
        status = 0
    except BootdError as error:
        told = {"code": error.code, "message": error.message, "hint": error.hint}
        last_words = json.dumps(told).encode()
        status = 0
    except MemoryError:
        last_words = b"it needs more memory than it may take"
    except BrokenPipeError:
        status = 0
    except BaseException as error:  # noqa: BLE001 - the last frame of a process
        last_words = f"{type(error).__name__}: {error}".encode(errors="replace")
    os.write(words, last_words[:_WORDS_LIMIT])
    return status


def _take_over(given: Ring, answer: Ring, words: int) -> None:
    """Keep no open file that is the parent's."""
    given.keep_receiving_end()
    answer.keep_sending_end()
    kept = {*given.filled, *given.freed, *answer.filled, *answer.freed, words}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all that is needed
        if int(name) not in kept:
            with suppress(OSError):  # the one that was open to list them
                os.close(int(name))
    sys.stderr = None


def _pieces(given: Ring) -> Iterator[bytes]:
    while data := given.receive():
        yield data


def _write(answer: Ring, data: bytes) -> None:
    view = memoryview(data)
    while view:
        if not answer.has_room() and not answer.hear():
            raise BrokenPipeError
        view = view[answer.send(view) :]
