"""The environment that the daemon's unit reads from a file (systemd.exec(5), ``EnvironmentFile=``).

This command has another environment than the daemon; of the daemon's it shows what registries are
reached through.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bootd.model.registry.userinfo import without_userinfo

FILE: Final = "/etc/bootd/environment"
_MAX_BYTES: Final = 64 << 10
_COMMENTS: Final = ("#", ";")
_QUOTES: Final = ("'", '"')
_MIN_QUOTED: Final = 2


def proxies(root: Path) -> tuple[dict[str, str], list[str]]:
    """Return the proxy and the exceptions from it, without passwords, and what is to be told.

    The keys are ``proxy`` and ``no_proxy``; what is not set is left out.
    """
    try:
        with (root / FILE.lstrip("/")).open("rb") as stream:
            text = stream.read(_MAX_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        return {}, [f"{FILE} cannot be read, so a proxy set in it is not shown: {error.strerror}"]
    found = _assignments(text)
    values = {}
    for key, names in (("proxy", ("https_proxy", "all_proxy")), ("no_proxy", ("no_proxy",))):
        spelt = [found.get(one) for name in names for one in (name, name.upper())]
        value = next(filter(None, spelt), None)
        if value is not None:
            values[key] = without_userinfo(value)
    return values, []


def _assignments(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, is_assignment, value = line.strip().partition("=")
        if not is_assignment or name.startswith(_COMMENTS):
            continue
        value = value.strip()
        for quote in _QUOTES:
            if len(value) >= _MIN_QUOTED and value[0] == value[-1] == quote:
                value = value[1:-1]
                break
        found[name.strip()] = value
    return found
