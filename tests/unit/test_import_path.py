"""Python's path has bootd alone of the checkout, whose folders have names of others' modules.

It is found as an installed package is, without an import hook, which would slow every start down.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
_FOUND = """
import importlib.util, json, sys
specs = [importlib.util.find_spec(name) for name in sys.argv[1:]]
print(json.dumps([place for spec in specs if spec for place in spec.submodule_search_locations]))
"""


def test_folders_of_the_checkout_are_no_modules(tmp_path: Path) -> None:
    # All of them and not systemd/ and dbus/ alone, in whose place the real modules may be found.
    folders = {path.name for path in CHECKOUT.iterdir() if path.is_dir()}
    names = {name for name in folders if name.isidentifier()} - {"bootd"}
    assert {"systemd", "dbus", "docs"} <= names
    done = subprocess.run(
        [sys.executable, "-P", "-c", _FOUND, *sorted(names)],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        timeout=60,
    )
    ours = [place for place in json.loads(done.stdout) if Path(place).parent == CHECKOUT]
    assert not ours


def test_a_start_of_python_imports_no_hook(tmp_path: Path) -> None:
    shown = "import sys; print(*sys.modules, *map(repr, sys.meta_path))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", shown],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = [word for word in ("editables", "distutils", "setuptools") if word in done.stdout]
    assert not found
