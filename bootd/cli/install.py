"""What both ways to install share: the machine's settings, progress, and a clean end."""

from __future__ import annotations

import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from bootd.boot.loader.firmware import Firmware
from bootd.cli.offline import OperationProgress
from bootd.cli.output import Output
from bootd.cli.screen.progress import displayed
from bootd.model.documents import InstallDocument
from bootd.model.errors import CancelledError, InvalidArgumentError
from bootd.model.hash_algorithm import HASH_ALGORITHMS
from bootd.operations.install_settings import MAX_KEYS, Settings
from bootd.operations.progress import Progress

_LOCAL: Final = ("oci:", "oci-archive:", "dir:", "docker-archive:", "containers-storage:")
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
"""Besides Control-C: somebody's kill(1), and a lost connection."""


def add_settings(parser: ArgumentParser) -> None:
    """Declare the options that say what the machine begins with."""
    parser.add_argument(
        "--image",
        metavar="REFERENCE",
        required=True,
        help="the image to install: registry.example/name:tag, name@sha256:…, oci:DIR or "
        "oci-archive:FILE",
    )
    parser.add_argument(
        "--follow",
        metavar="REFERENCE",
        default=None,
        help="the image that the machine follows afterwards, if it is another one",
    )
    parser.add_argument(
        "--kernel-argument",
        metavar="ARGUMENT",
        action="append",
        default=[],
        help="one kernel argument besides the image's own; may be given several times. With a "
        "root= among them none is made up",
    )
    parser.add_argument(
        "--root-ssh-key",
        metavar="FILE",
        type=Path,
        default=None,
        help="public keys that may log in as root",
    )
    parser.add_argument("--hostname", metavar="NAME", default=None, help="the machine's name")
    parser.add_argument(
        "--store-hash",
        choices=tuple(HASH_ALGORITHMS),
        default=next(iter(HASH_ALGORITHMS)),
        help="the hash of the fs-verity digests by which the store names what it holds; it cannot "
        "be changed later. sha256 if not given",
    )
    parser.add_argument(
        "--generic-image",
        action="store_true",
        help="what is installed is for another machine: this one's firmware is not asked whether "
        "it could start it, and gets no entry for it",
    )


def run_installation(
    arguments: Namespace,
    output: Output,
    operation: Callable[[Settings, Progress, Firmware | None], InstallDocument],
) -> int:
    """Install and show progress; a signal that ends it leaves nothing mounted.

    Args:
        arguments: of the command line.
        output: where to show the result.
        operation: installs; it is given this machine's firmware unless that is not to start it.

    Raises:
        BootdError: it could not be done.
    """
    settings = Settings(
        image=arguments.image,
        follow=arguments.follow,
        kernel_arguments=tuple(arguments.kernel_argument),
        root_keys=_read_keys(arguments.root_ssh_key),
        hostname=arguments.hostname,
        store_hash=arguments.store_hash,
    )
    firmware = None if arguments.generic_image else Firmware()
    # Under nohup(1) a lost terminal is to be no end.
    ending = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _stop) for number in ending}
    try:
        with displayed(output) as display:
            document = operation(settings, OperationProgress(display), firmware)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    output.show(document)
    if document.follows.startswith(_LOCAL):
        output.note("It looks for that on its own disk; --follow names another image.")
    return 0


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise CancelledError(
        "the installation was stopped", hint="The same command again starts it over."
    )


def _read_keys(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_KEYS + 1)
    except OSError as error:
        raise InvalidArgumentError(
            f"{path} cannot be read: {error.strerror}", hint="Name a file with public keys."
        ) from error
