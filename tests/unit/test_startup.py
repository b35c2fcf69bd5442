"""What each entry point loads, in modules; where imports are put off; who owns the collector."""

from __future__ import annotations

import ast
import gc
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest

import bootd
from bootd import startup
from bootd.startup import hidden, later, without_garbage_collection

FOLDER = Path(bootd.__file__).parent
SOURCES = sorted(FOLDER.rglob("*.py"))

BUS = {"asyncio", "dbus_fast", "dbus_next"}
MODELS = {"pydantic"}
HTTP = {"requests", "urllib3"}
OPENSSL = {"_hashlib", "_ssl"}
DISPLAY = {"rich"}
SIGNATURES = {"cryptography"}
LOGGING = {"logging", "dataclasses", "subprocess"}
ALL = BUS | MODELS | HTTP | OPENSSL | DISPLAY | SIGNATURES | LOGGING

COSTS: dict[str, tuple[str, set[str], int]] = {
    "help": ("bootd.cli.main", ALL, 32),
    "a status that the daemon wrote down": (
        "bootd.cli.main, bootd.cli.verbs.status, bootd.cli.render.status",
        ALL,
        42,
    ),
    "a verb that asks the daemon": (
        "bootd.cli.main, bootd.cli.verbs.cleanup",
        MODELS | HTTP | OPENSSL | DISPLAY | SIGNATURES,
        45,
    ),
    "a status from the disk": (
        "bootd.cli.main, bootd.cli.offline",
        HTTP | DISPLAY | SIGNATURES,
        200,
    ),
    "the daemon": ("bootd.daemon.main", HTTP | OPENSSL | DISPLAY | SIGNATURES, 235),
    "a check": (
        "bootd.operations.__main__, bootd.operations.check",
        BUS | HTTP | DISPLAY | SIGNATURES,
        120,
    ),
    "an upgrade": (
        "bootd.operations.__main__, bootd.operations.stage",
        BUS | HTTP | DISPLAY | SIGNATURES,
        280,
    ),
    "a shutdown": (
        "bootd.operations.__main__, bootd.operations.finalize",
        BUS | HTTP | DISPLAY | SIGNATURES,
        260,
    ),
}
"""Of each entry point: its modules, what they may not bring, how many modules of bootd at most."""


def run_python(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("entry", COSTS)
def test_an_entry_point_loads_what_it_needs(entry: str) -> None:
    modules, without, most = COSTS[entry]
    loaded = run_python(f"import sys, {modules}\nprint(*sys.modules)").split()
    assert not without & {name.partition(".")[0] for name in loaded}
    ours = [name for name in loaded if name.partition(".")[0] == "bootd"]
    # Far fewer than that would be a bound that nobody notices.
    assert most * 0.7 < len(ours) <= most


def test_what_was_kept_away_can_be_had_afterwards(tmp_path: Path) -> None:
    (tmp_path / "gi").mkdir()
    (tmp_path / "gi/__init__.py").touch()
    (tmp_path / "gi/repository.py").write_text("class GLib:\n    Source = object\n")
    script = """
        import sys
        import bootd.daemon.main
        print("gi.repository" in sys.modules)
        from gi.repository import GLib
        import ssl, hashlib
        assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442")
    """
    assert run_python(script, PYTHONPATH=str(tmp_path)) == "False"


def test_models_are_built_when_they_are_needed() -> None:
    script = """
        import bootd.daemon.main, pydantic
        models = pydantic.BaseModel.__subclasses__()
        print(*(one.__name__ for one in models if one.__pydantic_complete__))
        assert models
    """
    assert not run_python(script)


def test_plugins_of_other_packages_have_no_say_in_models(tmp_path: Path) -> None:
    package = tmp_path / "meddler-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: meddler\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[pydantic]\nmeddler = meddler:plugin\n")
    (tmp_path / "meddler.py").write_text("print('meddled')\n")
    script = """
        from bootd.model.documents import Damage
        print(Damage(what="", path="", problem="", repaired=False).what)
    """
    assert not run_python(script, PYTHONPATH=str(tmp_path))


def put_off(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports under `later`."""
    for node in tree.body:
        if isinstance(node, ast.With) and ast.unparse(node.items[0].context_expr) == "later()":
            for statement in node.body:
                assert isinstance(statement, ast.Import | ast.ImportFrom), ast.unparse(statement)
                yield statement


def test_only_modules_are_put_off() -> None:
    names = set()
    for path in SOURCES:
        for statement in put_off(ast.parse(path.read_text())):
            before = f"{statement.module}." if isinstance(statement, ast.ImportFrom) else ""
            names |= {before + one.name for one in statement.names}
    # Those of others need not be installed.
    ours = {name for name in names if name.startswith("bootd.")}
    assert "bootd.operations.collect" in ours
    assert not {name for name in ours if find_spec(name) is None}


def test_nobody_else_touches_the_collector() -> None:
    for path in SOURCES:
        imported = {
            name.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert "gc" not in imported or path == FOLDER / "startup.py", path


@pytest.fixture
def found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules ``put_off_module`` and ``put_off_package.inner``."""
    (tmp_path / "put_off_module.py").write_text("value = 7\n")
    (tmp_path / "put_off_package").mkdir()
    (tmp_path / "put_off_package/__init__.py").touch()
    (tmp_path / "put_off_package/inner.py").write_text("value = 8\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("put_off_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("statement", "loaded", "value"),
    [
        ("import put_off_module as found", "put_off_module", 7),
        ("import put_off_package.inner as found", "put_off_package", 8),
        ("from put_off_package import inner as found", "put_off_package", 8),
    ],
)
@pytest.mark.usefixtures("found_by_name")
def test_a_module_is_loaded_when_it_is_used(statement: str, loaded: str, value: int) -> None:
    names: dict[str, ModuleType] = {}
    with later():
        exec(statement, names)
    assert loaded not in sys.modules
    assert names["found"].value == value
    assert loaded in sys.modules


@pytest.mark.usefixtures("found_by_name")
def test_load_loads() -> None:
    with later():
        put_off_module = __import__("put_off_module")
    startup.load(put_off_module)
    assert "put_off_module" in sys.modules


def test_a_module_that_is_missing_is_missed_when_it_is_used() -> None:
    with later():
        missing = __import__("put_off_and_never_there")
    with pytest.raises(ModuleNotFoundError):
        _ = missing.anything


@pytest.mark.usefixtures("found_by_name")
def test_imports_of_another_thread_are_as_ever() -> None:
    names: dict[str, ModuleType] = {}
    with later():
        other = Thread(target=exec, args=("import put_off_module", names))
        other.start()
        other.join()
    assert names["put_off_module"] is sys.modules["put_off_module"]


@pytest.mark.usefixtures("found_by_name")
def test_imports_are_as_ever_after_a_failure() -> None:
    with pytest.raises(KeyError), later():
        raise KeyError
    assert __import__("put_off_module") is sys.modules["put_off_module"]


def test_what_is_loaded_already_is_not_hidden() -> None:
    with hidden("ast"):
        assert __import__("ast") is ast


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_afterwards_as_it_was(on: bool) -> None:
    was_on = gc.isenabled()
    try:
        startup.collect_garbage(on=on)
        with without_garbage_collection():
            assert not gc.isenabled()
        assert gc.isenabled() is on
    finally:
        startup.collect_garbage(on=was_on)
