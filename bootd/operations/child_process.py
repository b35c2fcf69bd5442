"""How a job starts processes that write to the store with it.

One that is forked holds the store's lock with the job, so whatever becomes of the job, nobody else
changes the store before the child has ended. Jobs have one thread and fork.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import threading
from multiprocessing.context import BaseContext


def child_context() -> BaseContext:
    """Return how children are started: by a fork, as long as the caller has no other thread.

    A fork has all modules at once, but only the thread that asked for it: others might hold locks
    that nobody would let go of.
    """
    return multiprocessing.get_context("fork" if threading.active_count() == 1 else "spawn")


def begin_child() -> None:
    """Take nothing over from the job that is the job's."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.enable()
