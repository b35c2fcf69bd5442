"""The development environment is set up beside other programs that use apt, as on new machines."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ENVIRONMENT = Path(__file__).parents[2] / "packaging/development/environment"
UNKNOWN = "bootd-test-unknown-package"
APT = """
Dir::State "{0}/state";
Dir::State::status "{0}/dpkg/status";
Dir::Cache "{0}/cache";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "/dev/null";
APT::Sandbox::User "root";
"""


@pytest.mark.parametrize(
    ("lock", "locked_out"), [("state/lists/lock", "update"), ("dpkg/lock-frontend", "install")]
)
def test_set_up_waits_for_a_lock_of_apt(tmp_path: Path, lock: str, locked_out: str) -> None:
    development = tmp_path / "checkout/packaging/development"
    for folder in (development, tmp_path / "state/lists", tmp_path / "dpkg", tmp_path / "cache"):
        folder.mkdir(parents=True)
    (tmp_path / "dpkg/status").touch()
    (tmp_path / "apt.conf").write_text(APT.format(tmp_path))
    (development / "debian-packages").write_text(UNKNOWN)
    script = Path(shutil.copy(ENVIRONMENT, development))
    settings = {"APT_CONFIG": str(tmp_path / "apt.conf"), "BOOTD_CACHE": str(tmp_path / "kept")}

    with (tmp_path / lock).open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        running = subprocess.Popen(
            [script, "true"], env=os.environ | settings, stderr=subprocess.PIPE, text=True
        )
        with running:
            assert running.stderr is not None
            said = [running.stderr.readline() for _ in range(2)]
            fcntl.lockf(held, fcntl.LOCK_UN)
            said += running.stderr.readlines()
    assert re.match(f"==> waiting: .*{lock}", said[1])
    # It went on until apt-get could say what it thinks of that package.
    assert f"E: Unable to locate package {UNKNOWN}\n" in said
    assert "apt-get install failed" in said[-1]
    assert running.returncode == 1
    log = (tmp_path / f"kept/apt-{locked_out}.log").read_text()
    assert "Could not get lock" not in log


PROJECT = """
[project]
name = "bootd"
dependencies = [{dependencies}]
optional-dependencies = {{fast = [], dev = ["bootd[fast]"]}}
scripts = {{bootd-says = "bootd.words:main"}}
"""


def checkout(folder: Path, *dependencies: str) -> Path:
    """A checkout that says who it is; its needs are files, so that no registry is asked."""
    development = folder / "packaging/development"
    development.mkdir(parents=True)
    (development / "debian-packages").touch()
    shutil.copy(ENVIRONMENT, development)
    (folder / "bootd").mkdir()
    (folder / "bootd/__init__.py").touch()
    (folder / "bootd/words.py").write_text(f"def main():\n    print({folder.name!r})\n")
    quoted = ", ".join(f'"{one}"' for one in dependencies)
    (folder / "pyproject.toml").write_text(PROJECT.format(dependencies=quoted))
    return folder


def wheel(folder: Path) -> str:
    """Make a wheel with a module and a program; return it as a dependency."""
    path = folder / "gadget-1-py3-none-any.whl"
    info = "gadget-1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("gadget.py", "import bootd.words\ndef main():\n    bootd.words.main()\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: gadget\nVersion: 1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\ngadget = gadget:main\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"gadget @ file://{path}"


def environments(cache: Path, *, of: str) -> set[str]:
    return {path.name for path in cache.glob(f"{of}-*")}


def test_checkouts_of_equal_needs_share_what_they_install(tmp_path: Path) -> None:
    cache = tmp_path / "kept"
    needs = wheel(tmp_path)

    def run(folder: Path, *command: str) -> str:
        script = folder / "packaging/development/environment"
        done = subprocess.run(
            [script, *command],
            env={**os.environ, "BOOTD_CACHE": str(cache)},
            capture_output=True,
            text=True,
            check=True,
            timeout=200,
        )
        return done.stdout.strip()

    one, two = checkout(tmp_path / "one", needs), checkout(tmp_path / "two", needs)
    for _ in range(2):
        for folder in (one, two):
            # A program of bootd's, one of a package, and an interpreter: each finds this bootd.
            assert run(folder, "bootd-says") == folder.name
            assert run(folder, "gadget") == folder.name
            assert run(folder, "python", "-c", "import gadget; gadget.main()") == folder.name
    assert len(environments(cache, of="packages")) == 1
    assert len(environments(cache, of="venv")) == 2
    shared = environments(cache, of="packages")

    three = checkout(tmp_path / "three")
    assert run(three, "bootd-says") == "three"
    assert subprocess.run(
        [three / "packaging/development/environment", "python", "-c", "import gadget"],
        env={**os.environ, "BOOTD_CACHE": str(cache)},
        capture_output=True,
        check=False,
    ).returncode
    assert len(environments(cache, of="packages")) == 2

    # What nobody uses any more goes when the next one is made.
    shutil.rmtree(one)
    (two / "pyproject.toml").write_text(PROJECT.format(dependencies=""))
    assert run(two, "bootd-says") == "two"
    assert environments(cache, of="packages").isdisjoint(shared)
    assert len(environments(cache, of="venv")) == 2
