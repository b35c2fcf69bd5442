"""The daemon does not load what it has no use for, and nobody else misses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_GLIB = """
import sys
import bootd.daemon.dbus.bus
print("gi.repository" in sys.modules)
from gi.repository import GLib
"""
_OPENSSL = """
import sys
import bootd.daemon.main
print(*sorted({"_hashlib", "_ssl"} & sys.modules.keys()))
import ssl, hashlib
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442")
"""
_MODELS = """
import bootd.daemon.main, pydantic
models = pydantic.BaseModel.__subclasses__()
print(*(one.__name__ for one in models if one.__pydantic_complete__))
assert models
"""


_PLUGIN = """
from bootd.model.documents import Damage
print(Damage(what="", path="", problem="", repaired=False).what)
"""


def run_python(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_glib_stays_away_and_can_be_had(tmp_path: Path) -> None:
    (tmp_path / "gi").mkdir()
    (tmp_path / "gi/__init__.py").touch()
    (tmp_path / "gi/repository.py").write_text("class GLib:\n    Source = object\n")
    assert run_python(_GLIB, PYTHONPATH=str(tmp_path)) == "False"


def test_openssl_stays_away_and_can_be_had() -> None:
    assert not run_python(_OPENSSL)


def test_models_are_built_when_they_are_needed() -> None:
    assert not run_python(_MODELS)


def test_plugins_of_other_packages_have_no_say_in_models(tmp_path: Path) -> None:
    package = tmp_path / "meddler-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: meddler\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[pydantic]\nmeddler = meddler:plugin\n")
    (tmp_path / "meddler.py").write_text("print('meddled')\n")
    assert not run_python(_PLUGIN, PYTHONPATH=str(tmp_path))
