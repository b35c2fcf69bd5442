"""The demo, from registry to rollback, with a real Debian image; each of its claims is checked.

Among them: what skopeo pushed comes back from the kernel's mount of the deployment as umoci unpacks
it, file by file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.timeout(900)
def test_every_claim_of_the_demo_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=880,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    said = done.stdout.rpartition("What this showed")[2]
    assert said.count("[yes]") >= 19
    assert "[no]" not in said
    assert "have the type, mode, owner, times, xattrs and content" in said
