"""Proxies: whose counts, what is asked without one, and that no password is told."""

from __future__ import annotations

import pytest

from bootd.model.errors import InvalidConfigurationError
from bootd.model.registry.proxy import checked_proxy, goes_without
from bootd.registry.settings import RegistrySettings
from bootd.registry.wire.proxies import proxy_environment, proxy_for

HERE = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("host", "entries", "expected"),
    [
        ("os.example", "", False),
        ("os.example", "*", True),
        ("os.example", "os.example", True),
        ("OS.example.", "os.EXAMPLE", True),
        ("eu.os.example", "os.example", True),
        ("eu.os.example", ".os.example", True),
        ("eu.os.example", "*.os.example", True),
        ("notos.example", "os.example", False),
        ("os.example", " a.example , os.example", True),
        ("os.example", "os.example:443", True),
        ("os.example", "os.example:5000", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("os.example", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:443", True),
        ("10.1.2.3", "2.3", False),
        ("fd00::5", "fd00::/8", True),
        ("fd00::5", "fd00:0::5", True),
        ("fd00::5", "[fd00::5]:443", True),
        ("fd00::5", "[fd00::5]:1", False),
        ("os.example", "10.0.0.0/99,/,:,[,]:,.,*.", False),
    ],
)
def test_what_is_asked_without_a_proxy(host: str, entries: str, expected: bool) -> None:
    assert goes_without(host, 443, entries.split(",")) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("proxy:3128", "http://proxy:3128"),
        ("https://proxy.example/", "https://proxy.example"),
        ("http://me:p%40ss@[fd00::1]:3128", "http://me:p%40ss@[fd00::1]:3128"),
    ],
)
def test_proxies(text: str, expected: str) -> None:
    assert checked_proxy(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "socks5://me:SECRET@proxy:1080",
        "http://me:SECRET#1@proxy:3128",
        "http://me:SECRET/1@proxy:3128",
        "http://me:SECRET 1@proxy:3128",
        "http://me:SECRET@proxy:x",
        "http://me:SECRET@proxy:99999",
        "http://me:SECRET@",
        "http://me:SECRET@proxy/path",
        "http://",
        "",
        "http://[::1",
        "http://proxy\n:1",
    ],
)
def test_what_is_no_proxy_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        checked_proxy(text)
    assert "SECRET" not in str(caught.value)
    if not text:
        return
    with pytest.raises(InvalidConfigurationError, match="HTTPS_PROXY") as told:
        proxy_for("https://os.example/v2/", RegistrySettings(), {"HTTPS_PROXY": text})
    assert "SECRET" not in told.value.message


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        (RegistrySettings(), {}, None),
        (RegistrySettings(), {"HTTPS_PROXY": HERE}, HERE),
        (RegistrySettings(), {"https_proxy": HERE, "HTTPS_PROXY": "http://other"}, HERE),
        (RegistrySettings(), {"HTTP_PROXY": HERE}, None),
        (RegistrySettings(), {"ALL_PROXY": HERE}, HERE),
        (RegistrySettings(), {"HTTPS_PROXY": HERE, "NO_PROXY": "os.example"}, None),
        (RegistrySettings(proxy=HERE), {"HTTPS_PROXY": "http://other"}, HERE),
        (RegistrySettings(proxy=""), {"HTTPS_PROXY": HERE}, None),
        (RegistrySettings(proxy=HERE), {"NO_PROXY": "os.example"}, None),
        (RegistrySettings(proxy=HERE, no_proxy=("os.example",)), {}, None),
        (RegistrySettings(no_proxy=()), {"HTTPS_PROXY": HERE, "NO_PROXY": "*"}, HERE),
    ],
)
def test_settings_come_before_the_environment(
    settings: RegistrySettings, environment: dict[str, str], expected: str | None
) -> None:
    assert proxy_for("https://os.example/v2/", settings, environment) == expected


def test_programs_get_the_same_proxy() -> None:
    assert proxy_environment(RegistrySettings()) == {}
    given = proxy_environment(RegistrySettings(proxy=HERE, no_proxy=("a.example", "10.0.0.0/8")))
    assert given["HTTPS_PROXY"] == given["https_proxy"] == HERE
    assert given["NO_PROXY"] == "a.example,10.0.0.0/8"


def test_settings_are_shown_without_the_proxys_password() -> None:
    assert "SECRET" not in repr(RegistrySettings(proxy="http://me:SECRET@proxy:1"))
