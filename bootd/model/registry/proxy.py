"""Proxies, and what is asked without one: the rules of ``HTTPS_PROXY`` and ``NO_PROXY``.

There is no standard for them. The rules are those that curl(1), Python and Go have in common:
``NO_PROXY`` has host names, which stand for what is below them too, addresses and CIDR blocks, each
with a port or without; ``*`` stands for all hosts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

_SCHEMES: Final = frozenset({"http", "https"})
_PORT: Final = re.compile(r"(.*):([0-9]{1,5})", re.DOTALL)


def checked_proxy(text: str) -> str:
    """Return a proxy's URL with its scheme, ``http`` where there is none.

    Raises:
        ValueError: it is no such URL; the message does not repeat it, for it may hold a password.
    """
    url = text if "://" in text else f"http://{text}"
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("it has characters that no URL has; write them as %XX")
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError("only proxies with http:// and https:// are known")
    if not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("it is not http://HOST:PORT; special characters of a password are %XX")
    try:
        parts.port  # noqa: B018 - it raises
    except ValueError:
        raise ValueError("its port is not a number up to 65535") from None
    return url.removesuffix("/")


def goes_without(host: str, port: int, no_proxy: Iterable[str]) -> bool:
    """Return whether a host is asked without a proxy.

    Args:
        host: a name, or an address without brackets.
        port: the port there.
        no_proxy: the entries of ``NO_PROXY``; what is none of them stands for nothing.
    """
    name = host.lower().rstrip(".")
    return any(_matches(name, port, entry.strip().lower()) for entry in no_proxy)


def _matches(host: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return _is_in_block(host, entry)
    if entry.count(":") == 1 or entry.startswith("["):
        with_port = _PORT.fullmatch(entry)
        if with_port is not None:
            if int(with_port[2]) != port:
                return False
            entry = with_port[1]
    entry = entry.removeprefix("[").removesuffix("]").removeprefix("*").strip(".")
    return bool(entry) and _is_below(host, entry)


def _is_below(host: str, entry: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == entry or host.endswith(f".{entry}")
    try:
        return address == ip_address(entry)
    except ValueError:
        return False


def _is_in_block(host: str, block: str) -> bool:
    try:
        return ip_address(host) in ip_network(block, strict=False)
    except ValueError:
        return False
