"""Memory that two processes share, through which bytes go from one to the other.

Copying into it and out of it takes half of what a pipe takes, and nobody is woken for a part of a
piece. What is in a slot and whose turn it is go through two pipes: the receiver is told how many
bytes are there, or how many are left out, and the sender which slots are free again. Neither end
trusts the other: what is received is copied once and then out of the sender's reach, and what a
number stands for is checked.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from struct import Struct
from typing import Final

SLOT: Final = 512 << 10
"""Most bytes of a piece."""
_SLOTS: Final = 6
_TOGETHER: Final = _SLOTS // 2
"""So many slots are told to be free at once: each word wakes somebody. There are as many others, so
that a sender who waits for a slot has sent something that is not received yet."""
_TOLD: Final = Struct("<I")
_LEFT_OUT: Final = 1 << 31
_FREE: Final = b"\0"


class RingError(Exception):
    """The other end does not keep to this."""


class Ring:
    """Both ends; a fork keeps one, and its parent the other.

    Attributes:
        filled: the pipe that tells the receiver, read end and write end.
        freed: the pipe that tells the sender, read end and write end.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLOTS * SLOT)
        self._free = _SLOTS
        self._next = 0
        self._told = b""
        self._owed = 0
        self.filled = os.pipe2(os.O_CLOEXEC)
        self.freed = os.pipe2(os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of it; again is fine."""
        for descriptor in (*self.filled, *self.freed):
            if descriptor >= 0:
                os.close(descriptor)
        self.filled = self.freed = -1, -1
        self._memory.close()

    def keep_sending_end(self) -> None:
        """Close what the receiver needs."""
        os.close(self.filled[0])
        os.close(self.freed[1])
        self.filled, self.freed = (-1, self.filled[1]), (self.freed[0], -1)

    def keep_receiving_end(self) -> None:
        """Close what the sender needs."""
        os.close(self.filled[1])
        os.close(self.freed[0])
        self.filled, self.freed = (self.filled[0], -1), (-1, self.freed[1])

    def finish(self) -> None:
        """Tell the receiver that no more comes; again is fine."""
        if self.filled[1] >= 0:
            os.close(self.filled[1])
            self.filled = self.filled[0], -1

    def has_room(self) -> bool:
        """Return whether a slot is free, as far as was told."""
        return self._free > 0

    def send(self, data: memoryview, *, left_out: bool = False) -> int:
        """Put the beginning of data into the free slot, and return how much that is.

        Args:
            data: at least a byte.
            left_out: tell how many bytes there are, not which.

        Raises:
            BrokenPipeError: nobody receives any more.
            RingError: the receiver wants more than it takes.
        """
        size = min(len(data), SLOT)
        if not left_out:
            start = self._next * SLOT
            self._memory[start : start + size] = data[:size]
        try:
            os.write(self.filled[1], _TOLD.pack(size | _LEFT_OUT if left_out else size))
        except BlockingIOError:
            raise RingError("more slots are free than there are") from None
        self._next = (self._next + 1) % _SLOTS
        self._free -= 1
        return size

    def hear(self) -> bool:
        """Wait, if this end does, until slots are free; return False where nobody receives."""
        with suppress(BlockingIOError):
            heard = len(os.read(self.freed[0], _SLOTS))
            self._free = min(self._free + heard, _SLOTS)
            return heard > 0
        return True

    def receive(self) -> bytes | None:
        """Wait, if this end does, for the next piece and return it; what was left out is zeros.

        Returns:
            Empty: no more comes. None: there is nothing yet.

        Raises:
            RingError: the sender tells of what cannot be.
        """
        while len(self._told) < _TOLD.size:
            try:
                came = os.read(self.filled[0], _SLOTS * _TOLD.size)
            except BlockingIOError:
                return None
            if not came:
                return b""
            self._told += came
        (told,) = _TOLD.unpack_from(self._told)
        self._told = self._told[_TOLD.size :]
        size = told & ~_LEFT_OUT
        if not 0 < size <= SLOT:
            raise RingError(f"a piece of {size} bytes")
        start = self._next * SLOT
        data = bytes(size) if told & _LEFT_OUT else self._memory[start : start + size]
        self._next = (self._next + 1) % _SLOTS
        self._owed += 1
        if self._owed == _TOGETHER:
            self._owed = 0
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(self.freed[1], _FREE * _TOGETHER)
        return data

    @property
    def has_heard_of_more(self) -> bool:
        """Whether `receive` has been told of a piece that it has not returned."""
        return len(self._told) >= _TOLD.size
