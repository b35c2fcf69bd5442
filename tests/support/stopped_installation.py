"""A program: an installation that gets a signal while the disk is mounted.

``stopped_installation.py DISK IMAGE SIGNAL``; the exit status tells how the installer ended.
"""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from pathlib import Path

from bootd.boot.loader.firmware import Firmware
from bootd.cli.install import run_installation
from bootd.cli.output import Output
from bootd.model.documents import InstallDocument
from bootd.model.errors import CancelledError
from bootd.operations.install import install_to_disk
from bootd.operations.install_settings import Settings
from bootd.operations.progress import Phase, Progress

CANCELLED = 11
INTERRUPTED = 12


class Ending:
    """Progress that ends the process at a certain phase."""

    def report(self, phase: Phase, done: int = 0, total: int = 0) -> None:
        if phase is Phase.STAGING:
            os.kill(os.getpid(), int(sys.argv[3]))


def operation(settings: Settings, _: Progress, __: Firmware | None) -> InstallDocument:
    return install_to_disk(Path(sys.argv[1]), settings, Ending())


def main() -> int:
    # A shell's background begins with the first ignored, nohup(1) with the other.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    arguments = Namespace(
        image=sys.argv[2],
        follow=None,
        kernel_argument=[],
        root_ssh_key=None,
        hostname=None,
        store_hash="sha256",
        generic_image=False,
    )
    try:
        return run_installation(arguments, Output(sys.stdout, sys.stderr, quiet=True), operation)
    except CancelledError:
        return CANCELLED
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
