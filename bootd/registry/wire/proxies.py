"""Which proxy a URL is asked through: the settings', or the environment's of this process.

The daemon's environment is that of its unit, see ``/etc/bootd/environment`` in bootd(8).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from bootd.model.errors import InvalidConfigurationError
from bootd.model.registry.proxy import checked_proxy, goes_without
from bootd.registry.settings import RegistrySettings


def proxy_for(url: str, settings: RegistrySettings, environment: Mapping[str, str]) -> str | None:
    """Return the proxy to ask a URL through, or None.

    Raises:
        InvalidConfigurationError: the proxy cannot be used; only the variable is named.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if goes_without(parts.hostname or "", port, _without(settings, environment)):
        return None
    if settings.proxy is not None:
        return settings.proxy or None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        proxy = variable(name, environment)
        if not proxy:
            continue
        try:
            return checked_proxy(proxy)
        except ValueError as error:
            raise InvalidConfigurationError(
                f"the environment's {name.upper()} cannot be used: {error}",
                hint="Mend it where the environment is from, e.g. /etc/bootd/environment, or set "
                "registries.proxy in bootd.toml.",
            ) from None
    return None


def proxy_environment(settings: RegistrySettings) -> dict[str, str]:
    """Return what programs get besides this process's environment, to use the same proxy."""
    values: dict[str, str] = {}
    if settings.proxy is not None:
        values |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), settings.proxy)
    if settings.no_proxy is not None:
        values["no_proxy"] = ",".join(settings.no_proxy)
    return values | {name.upper(): value for name, value in values.items()}


def variable(name: str, environment: Mapping[str, str]) -> str:
    """Return the value of a variable, or an empty string; lower case comes first, as in curl(1)."""
    return environment.get(name) or environment.get(name.upper()) or ""


def _without(settings: RegistrySettings, environment: Mapping[str, str]) -> list[str]:
    if settings.no_proxy is not None:
        return list(settings.no_proxy)
    return variable("no_proxy", environment).split(",")
