"""On a machine that is none of bootd's the bus would start nothing, and is not asked to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.bus import environment_of, permissive_bus

BOOTCTL = str(Path(sys.executable).with_name("bootctl-py"))
_SERVICE = """\
[D-BUS Service]
Name=org.bootd1
Exec=/usr/bin/touch {started}
"""


@pytest.mark.parametrize(
    "words", [("status",), ("upgrade", "--automatic", "--quiet"), ("jobs",), ("rollback",)]
)
def test_nobody_waits_for_a_daemon_that_is_not_to_come(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    services = tmp_path / "dbus-1/services"
    services.mkdir(parents=True)
    started = tmp_path / "started"
    (services / "org.bootd1.service").write_text(_SERVICE.format(started=started))
    with permissive_bus(tmp_path) as (address, _):
        done = subprocess.run(
            [BOOTCTL, *words, "--json=short"],
            env=environment_of(address),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "not-a-sysroot")
    assert not started.exists()
