"""asyncio without what nobody here uses.

asyncio loads TLS where it is there, with OpenSSL 4 MB, for connections that bootd has to no one:
its peers are sockets of this machine. Modules here take asyncio from this one.
"""

from __future__ import annotations

from bootd.startup import hidden

__all__ = ["asyncio"]

with hidden("ssl"):
    import asyncio
