"""asyncio, and what else is loaded for the event loop, without what nobody here uses.

asyncio loads TLS where it is there, with OpenSSL 4 MB, for connections that bootd has to no one:
its peers are sockets of this machine. Modules here take asyncio from this one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

__all__ = ["asyncio", "hidden"]


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


with hidden("ssl"):
    import asyncio
