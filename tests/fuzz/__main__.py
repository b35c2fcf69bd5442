"""``make fuzz``: each target for two minutes, or as long as ``FUZZ_SECONDS`` says.

``python -m fuzz TARGET …`` takes some of them alone. New inputs that reach more code are kept in
the cache folder and tried again the next time; one that fails is kept there, too, and named.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from fuzz.target import CORPUS
from fuzz.targets import TARGETS

_SECONDS = os.environ.get("FUZZ_SECONDS", "120")
_DONE = re.compile(r"stat::number_of_executed_units:\s*([0-9]+)")
_SHOWN = 6_000


def main() -> int:
    """Fuzz; return 1 if a target failed."""
    cache = Path(os.environ["BOOTD_CACHE"], "fuzz")
    executions, failed = 0, []
    for name in sys.argv[1:] or TARGETS:
        done, output, status = _fuzz(name, cache / name)
        executions += done
        sys.stdout.write(f"{name:14} {done:10,} executions{'' if status == 0 else ', FAILED'}\n")
        sys.stdout.flush()
        if status != 0:
            failed.append(name)
            sys.stdout.write(output[-_SHOWN:])
    sys.stdout.write(f"{executions:,} executions, {len(failed)} of the targets failed\n")
    return 1 if failed else 0


def _fuzz(name: str, folder: Path) -> tuple[int, str, int]:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "fuzz.run", name, f"-max_total_time={_SECONDS}"]
    # What is found goes to the first folder.
    folders = [str(folder), str(CORPUS / name)]
    done = subprocess.run(
        [*command, f"-artifact_prefix={folder}-", *folders],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    counted = _DONE.search(output)
    return int(counted[1]) if counted else 0, output, done.returncode


if __name__ == "__main__":
    sys.exit(main())
