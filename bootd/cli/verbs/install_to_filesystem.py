"""``bootctl-py install to-filesystem``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from bootd.cli.install import add_settings, run_installation
from bootd.cli.output import Output
from bootd.operations.install import install_to_filesystem


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "root", metavar="DIR", type=Path, help="where the root file system is mounted"
    )
    parser.add_argument(
        "--esp",
        metavar="DIR",
        type=Path,
        required=True,
        help="where the EFI system partition is mounted",
    )
    add_settings(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Install into mounted file systems."""
    return run_installation(
        arguments,
        output,
        lambda settings, progress, firmware: install_to_filesystem(
            arguments.root, arguments.esp, settings, progress, firmware=firmware
        ),
    )
