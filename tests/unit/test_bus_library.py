"""The D-Bus library brings nothing along that nobody needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import sys
import bootd.daemon.bus
print("gi.repository" in sys.modules)
from gi.repository import GLib
"""


def test_glib_stays_away_and_can_be_had(tmp_path: Path) -> None:
    (tmp_path / "gi").mkdir()
    (tmp_path / "gi/__init__.py").touch()
    (tmp_path / "gi/repository.py").write_text("class GLib:\n    Source = object\n")
    done = subprocess.run(
        [sys.executable, "-P", "-c", _SCRIPT],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "False\n"
