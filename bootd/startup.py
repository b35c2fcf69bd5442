"""When modules are loaded, and who owns the garbage collector: both are decided here alone.

What a process may do without is imported under `later`, as Python 3.15 does with ``lazy import``
(PEP 810). What each entry point loads is held by ``tests/unit/test_startup.py``.

Nobody else touches ``gc`` or ends a process without taking it apart:

======================  ============================================================================
the daemon              collects; its modules are left out (`freeze_modules`), and after a job the
                        heap's free memory goes back to the kernel (`give_memory_back`)
a job                   collects, but for the time in which a tree grows
                        (`without_garbage_collection`); its modules are left out, the tree stays to
                        the end (`keep_to_the_end`), and nothing is taken apart (`end_at_once`)
its importers and its   collect, although the job may not when they are forked
publisher               (`collect_garbage`)
a reader in a sandbox   does not: it ends with its layer (`collect_garbage`)
the command line        leaves it to Python
======================  ============================================================================
"""

from __future__ import annotations

import builtins
import gc
import os
import sys
from _thread import RLock, get_ident
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NoReturn, cast

_importing: Final = RLock()
"""Held by the one thread whose imports are put off."""
_kept: Final[list[object]] = []


class _Later(ModuleType):
    """Stands for a module; the first use of anything in it imports it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


class _Package:
    """Stands for a package of which modules are wanted."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> _Later:
        return _Later(f"{self._name}.{name}")


@contextmanager
def later() -> Iterator[None]:
    """Put off the imports that stand in the context, until something of the module is used.

    They name whole modules: ``import a``, ``import a.b as c``, or ``from a import b``, where ``b``
    is a module of ``a``.
    Linters see them as what they are. A module that is missing is missed when it is used.
    """
    thread, real = get_ident(), builtins.__import__

    def stand_in(name: str, *given: Any, **named: Any) -> Any:
        if get_ident() != thread:
            return real(name, *given, **named)
        fromlist = given[2] if len(given) > 2 else named.get("fromlist")  # noqa: PLR2004
        if fromlist:
            return _Package(name)
        first, dot, _ = name.partition(".")
        return _Package(first) if dot else _Later(name)

    with _importing:
        builtins.__import__ = stand_in
        try:
            yield
        finally:
            builtins.__import__ = real


@contextmanager
def hidden(module: str) -> Iterator[None]:
    """Let a module that is not loaded yet be missing for what is imported meanwhile."""
    if module in sys.modules:
        yield
        return
    modules: dict[str, ModuleType | None] = cast("Any", sys.modules)
    modules[module] = None
    try:
        yield
    finally:
        del modules[module]


with later():
    import ctypes


def load(*modules: ModuleType) -> None:
    """Load modules that were imported under `later`."""
    for module in modules:
        import_module(module.__name__)


def freeze_modules(*, collect: bool) -> None:
    """Take what there is now, which are modules, for permanent: nobody searches it for garbage.

    Args:
        collect: look for garbage first, so that none is kept; it takes a tenth of a second.
    """
    # A hundred thousand objects: to go over them is most of what the daemon's own part of a check
    # costs.
    if collect:
        gc.collect()
    gc.freeze()


def give_memory_back() -> None:
    """Return to the kernel what is free in the heap; without glibc only garbage goes."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Do without the search for cycles while a tree grows: it has none, and is half the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        collect_garbage(on=was_on)


def collect_garbage(*, on: bool) -> None:
    """Search for cycles from now on or not, whatever the process that forked this one does."""
    (gc.enable if on else gc.disable)()


def keep_to_the_end(thing: object) -> None:
    """Keep what was kept last no longer, but this; to take an image's tree apart takes 0.25 s."""
    _kept[:] = [thing]


def end_at_once(status: int) -> NoReturn:
    """End this process without taking one object after the other apart: the kernel drops them."""
    os._exit(status)
