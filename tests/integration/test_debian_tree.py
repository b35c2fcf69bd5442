"""The unit tests pass with Debian's own libraries, and with bootd as its package installs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.debian_tree import run_in_debian

PYTEST = ("python3", "-m", "pytest", "--quiet", "--numprocesses=1", "-p", "no:cacheprovider")


@pytest.mark.timeout(1_800)
def test_the_unit_tests_pass_in_a_debian_tree(tmp_path: Path) -> None:
    words = ("-m", "not checkout", "tests/unit")
    done = run_in_debian([*PYTEST, *words], tmp_path, timeout=1_500)
    assert done.returncode == 0, (done.stdout[-20_000:] + done.stderr[-5_000:]).decode()


def test_they_test_what_is_installed(tmp_path: Path) -> None:
    words = ("python3", "-c", "import bootd; print(bootd.__file__)")
    done = run_in_debian(words, tmp_path, timeout=200)
    assert done.stdout.decode().splitlines()[-1].startswith("/usr/lib/python3/dist-packages/bootd/")
