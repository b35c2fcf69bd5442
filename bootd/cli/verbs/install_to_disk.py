"""``bootctl-py install to-disk``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from bootd.cli.install import add_settings, run_installation
from bootd.cli.output import Output
from bootd.operations.install import install_to_disk
from bootd.operations.installing.disk_device import FORMATS


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "device",
        metavar="DEVICE",
        type=Path,
        help="the disk, or a file that is as large as the disk shall be",
    )
    parser.add_argument(
        "--filesystem",
        choices=tuple(FORMATS),
        default=next(iter(FORMATS)),
        help="the root file system; ext4, with fs-verity, if not given",
    )
    parser.add_argument(
        "--wipe", action="store_true", help="install even if that destroys what the disk holds"
    )
    add_settings(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Install on a disk."""
    return run_installation(
        arguments,
        output,
        lambda settings, progress, firmware: install_to_disk(
            arguments.device,
            settings,
            progress,
            firmware=firmware,
            filesystem=arguments.filesystem,
            wipe=arguments.wipe,
        ),
    )
