"""``bootctl-py config``; it reads the files itself, so that it works when the daemon cannot."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bootd.cli.documents import ConfigurationDocument, Setting
from bootd.cli.output import Output
from bootd.cli.unit_environment import FILE, proxies
from bootd.configuration import load
from bootd.model.registry.userinfo import without_userinfo

_TABLE: Final = "registries."
_PROXY: Final = f"{_TABLE}proxy"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options; there are none."""


def run(arguments: Namespace, output: Output) -> int:
    """Print every setting, its value and the file that set it."""
    root = arguments.sysroot or Path("/")
    loaded = load(root)
    values = loaded.configuration.model_dump(mode="json")
    unit, warnings = proxies(root)
    settings = [_setting(name, value, loaded.origins, unit) for name, value in _flat(values)]
    output.show(ConfigurationDocument(settings=settings, warnings=[*loaded.warnings, *warnings]))
    return 0


def _setting(name: str, value: Any, origins: Mapping[str, str], unit: Mapping[str, str]) -> Setting:
    """Return a setting as it is in force: without one of its own, by the unit's environment."""
    given = unit.get(name.removeprefix(_TABLE)) if name.startswith(_TABLE) else None
    if name not in origins and given is not None:
        return Setting(name=name, value=given, source=FILE)
    shown = without_userinfo(value) if name == _PROXY and value else value
    return Setting(name=name, value=shown, source=origins.get(name, "default"))


def _flat(values: Mapping[str, Any], table: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting; one in a table by the name of both; an empty table without a value."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{table}{name}.")
        else:
            yield f"{table}{name}", None if isinstance(value, dict) else value
