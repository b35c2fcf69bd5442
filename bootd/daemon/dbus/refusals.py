"""Answers to calls that are not taken up: late, and a few at a time.

Who is refused and asks again at once shall not keep the daemon busy, be it with a thousand
connections: so many refusals that come due together would hold up everybody's next call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from bootd.daemon.dbus.wire import IncomingCall, ProtocolError
from bootd.daemon.event_loop import asyncio

MAX_WAITING: Final = 4_096
"""Calls that wait for their refusal; those beyond get no answer."""
_SECONDS: Final = 1.0
"""Between a call and its refusal, or more where many wait."""
_TICK_SECONDS: Final = 0.04
AT_A_TIME: Final = 10
"""Refusals in a tick. The last of `MAX_WAITING` comes before its caller gives up."""


class Refusals:
    """Calls that wait to be told that they are not taken up.

    Args:
        answer: tells one of them.
    """

    def __init__(self, answer: Callable[[IncomingCall, ProtocolError], None]) -> None:
        self._answer = answer
        self._waiting: deque[tuple[float, IncomingCall, ProtocolError]] = deque()
        self._runs = False

    def add(self, call: IncomingCall, error: ProtocolError) -> None:
        """Let a call wait, if it wants an answer at all."""
        if not call.wants_reply or len(self._waiting) >= MAX_WAITING:
            return
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + _SECONDS, call, error))
        if not self._runs:
            self._runs = True
            loop.call_later(_SECONDS, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(AT_A_TIME):
            if not self._waiting or self._waiting[0][0] > loop.time():
                break
            _, call, error = self._waiting.popleft()
            self._answer(call, error)
        self._runs = bool(self._waiting)
        if self._runs:
            loop.call_at(max(self._waiting[0][0], loop.time() + _TICK_SECONDS), self._tick)
