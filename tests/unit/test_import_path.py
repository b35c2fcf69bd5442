"""The checkout is not on Python's path: its folders have names of other people's modules."""

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
