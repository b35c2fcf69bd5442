"""The linters are tests: what they say about the whole tree is part of whether it is good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
LONGEST_FILE = 500

pytestmark = pytest.mark.checkout


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache"],
        ["ruff", "format", "--check", "--no-cache"],
        ["mypy", "--strict"],
        ["lint-imports", "--no-cache"],
        ["vulture"],
        ["codespell"],
        [str(TOOLS / "python"), "docs/generate.py", "--check"],
    ],
    ids=lambda command: " ".join(Path(word).name for word in command),
)
def test_linter(command: list[str]) -> None:
    program = TOOLS / command[0]
    assert program.exists(), f"{command[0]} is missing: install the extra 'dev' of bootd"
    done = subprocess.run(
        [program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_too_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "bootd").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > LONGEST_FILE
    }
    assert not long
