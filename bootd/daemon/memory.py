"""Keeps the daemon small: gives memory back that it needed for a while."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Take what is there now for permanent, so that nobody searches it for garbage any more.

    These are the modules, a hundred thousand objects: going over them is most of what the daemon's
    own part of a check costs.
    """
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Return to the kernel what is free in the heap; without glibc only garbage goes."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
