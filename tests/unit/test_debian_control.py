"""The Debian package depends on what the project does, in the versions that it does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAMES = {"pyOpenSSL": "openssl", "PyYAML": "yaml"}
"""What Debian calls a project behind ``python3-``, where that is not its own name."""


def test_the_package_depends_on_what_the_project_depends_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    control = (ROOT / "packaging/debian/control").read_text()
    depends = control.split("\nPackage: ")[1].split("\nRecommends: ")[0]
    for requirement in project["dependencies"]:
        name, relation, version = re.split("([=>]=)", requirement.partition(",")[0])
        name = _NAMES.get(name, name)
        # An exact version is that of PyPI's, which the tests see; Debian has one anyway.
        least = f" (>= {version})" if relation == ">=" else ""
        assert f"\n python3-{name}{least},\n" in depends, requirement
