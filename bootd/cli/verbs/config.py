"""``bootctl-py config``; it reads the files itself, so that it works when the daemon cannot."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bootd.cli.documents import ConfigurationDocument, Setting
from bootd.cli.output import Output
from bootd.configuration import load


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options; there are none."""


def run(arguments: Namespace, output: Output) -> int:
    """Print every setting, its value and the file that set it."""
    loaded = load(arguments.sysroot or Path("/"))
    values = loaded.configuration.model_dump(mode="json")
    settings = [
        Setting(name=name, value=value, source=loaded.origins.get(name, "default"))
        for name, value in _flat(values)
    ]
    output.show(ConfigurationDocument(settings=settings, warnings=list(loaded.warnings)))
    return 0


def _flat(values: Mapping[str, Any], table: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting; one in a table by the name of both; an empty table without a value."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{table}{name}.")
        else:
            yield f"{table}{name}", None if isinstance(value, dict) else value
