"""The development environment is set up beside other programs that use apt, as on new machines."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
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
