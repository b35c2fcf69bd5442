"""Gives memory back that the daemon needed for a while."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Return to the kernel what is free in the heap; without glibc there is nothing to do."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
