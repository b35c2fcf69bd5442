"""A stream's transformation in a second thread, beside the one that consumes what comes of it.

Inflating and hashing are C code that runs without the interpreter's lock, so on two cores they cost
a consumer no time. Only the consumer's thread asks for the stream's chunks: it alone waits for the
network, and what ends it there (a signal, an error) leaves no thread that waits on. Invariants: at
most `_CHUNKS` chunks and `_PIECES` pieces are held; the thread has ended when the generator has.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Final

_CHUNKS: Final = 8
_PIECES: Final = 16


def in_second_thread(
    transform: Callable[[Iterable[bytes]], Iterable[bytes]],
    chunks: Iterable[bytes],
) -> Generator[bytes, None, None]:
    """Yield what `transform` makes of `chunks`.

    Args:
        transform: called in the other thread; it consumes all chunks unless it raises.
        chunks: asked for in this thread.

    Raises:
        BaseException: what `chunks` or `transform` raised.
    """
    shared = _Shared()
    thread = threading.Thread(target=shared.run, args=(transform,))
    thread.start()
    try:
        source = iter(chunks)
        while True:
            if shared.wants_chunk():
                shared.give(next(source, None))
            elif shared.has_piece():
                piece = shared.take()
                if piece is None:
                    return
                yield piece
            else:
                shared.wait()
    finally:
        shared.stop()
        thread.join()


class _StoppedError(Exception):
    """The consumer is gone."""


class _Shared:
    """What the two threads exchange."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._chunks: deque[bytes | None] = deque()
        self._pieces: deque[bytes | None] = deque()
        self._failure: BaseException | None = None
        self._given_all = False
        self._stopped = False

    def run(self, transform: Callable[[Iterable[bytes]], Iterable[bytes]]) -> None:
        try:
            for piece in transform(self._received()):
                self._add(piece)
            self._add(None)
        except _StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised again in the other thread
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _received(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._chunks or self._stopped)
                if self._stopped:
                    raise _StoppedError
                chunk = self._chunks.popleft()
                self._changed.notify_all()
            if chunk is None:
                return
            yield chunk

    def _add(self, piece: bytes | None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._pieces) < _PIECES or self._stopped)
            if self._stopped:
                raise _StoppedError
            self._pieces.append(piece)
            self._changed.notify_all()

    def wants_chunk(self) -> bool:
        """Return whether the other thread may run out of chunks while pieces are consumed."""
        fed = len(self._chunks) >= (_CHUNKS // 2 if self._pieces else _CHUNKS)
        return not (fed or self._given_all or self._failure)

    def give(self, chunk: bytes | None) -> None:
        """Hand over the next chunk, None after the last."""
        self._given_all = chunk is None
        with self._changed:
            self._chunks.append(chunk)
            self._changed.notify_all()

    def has_piece(self) -> bool:
        """Return whether there is something to take."""
        return bool(self._pieces) or self._failure is not None

    def wait(self) -> None:
        """Wait until there is something to give or to take."""
        with self._changed:
            self._changed.wait_for(lambda: self.has_piece() or self.wants_chunk())

    def take(self) -> bytes | None:
        """Return the next piece, None after the last; raise what the other thread raised."""
        with self._changed:
            if not self._pieces:
                assert self._failure is not None
                raise self._failure
            piece = self._pieces.popleft()
            self._changed.notify_all()
            return piece

    def stop(self) -> None:
        """Let the other thread end."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
