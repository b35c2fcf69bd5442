"""What every operation is given: the machine, its configuration and its clock."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bootd.boot.partition import boot_partition
from bootd.clock import SYSTEM_CLOCK, Clock
from bootd.configuration import load
from bootd.model.config import Configuration
from bootd.model.errors import InvalidConfigurationError, NoImageConfiguredError
from bootd.operations.machine.kept_configuration import instead_of
from bootd.registry.settings import RegistrySettings
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

PHYSICAL_ROOT: Final = Path("/sysroot")
RUN: Final = Path("/run/bootd")
COMMAND_LINE: Final = Path("/proc/cmdline")
BOOT: Final = Path("/boot")
UNREACHABLE: Final = "unreachable.json"
"""The notes of hosts that could not be reached, in the folder of `Sysroot.run`."""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine to work on.

    Attributes:
        sysroot: where it is.
        configuration: its settings.
        registry: how registries are reached.
        clock: the time.
        configuration_problem: why other settings are in force than the files say, in words; None:
            they are what the files say.
    """

    sysroot: Sysroot
    configuration: Configuration
    registry: RegistrySettings
    clock: Clock = SYSTEM_CLOCK
    configuration_problem: str | None = None

    def followed_image(self) -> str:
        """Return the reference this machine follows.

        What Switch set comes first, then the configured one, then where the booted deployment
        came from.

        Raises:
            NoImageConfiguredError: there is none of the three.
        """
        found = self.sysroot.read_intent().image or self.configuration.image
        if found is None and (booted := self.sysroot.booted()) is not None:
            found = self.sysroot.read_deployment(booted).image
        if found is None:
            raise NoImageConfiguredError("this machine follows no image")
        return found

    def follows(self, reference: str) -> bool:
        """Return whether that is the reference this machine follows."""
        try:
            return self.followed_image() == reference
        except NoImageConfiguredError:
            return False


def open_host(directory: Path | None) -> Host:
    """Return the live host, or the machine that lies wholly in a folder.

    Args:
        directory: None for the live host, else a sysroot folder; its configuration and its
            ``containers`` files are looked up in it too. Where a configuration file cannot be
            used, the last configuration that could be is in force; see `instead_of`.
    """
    root = Path("/") if directory is None else directory
    sysroot = (
        Sysroot(physical=PHYSICAL_ROOT, boot=BOOT, run=RUN, command_line=COMMAND_LINE)
        if directory is None
        else Sysroot.at(directory)
    )
    problem = None
    try:
        loaded = load(root)
        configuration, warnings = loaded.configuration, loaded.warnings
    except InvalidConfigurationError as error:
        configuration, problem = instead_of(sysroot, error)
        warnings = (problem,)
    for warning in warnings:
        _log.warning("%s", warning)
    settings = _registry(configuration, root, unreachable=sysroot.run / UNREACHABLE)
    return Host(sysroot, configuration, settings, configuration_problem=problem)


def _registry(
    configuration: Configuration, root: Path, *, unreachable: Path | None
) -> RegistrySettings:
    return RegistrySettings.of(
        configuration.registries,
        root=root,
        partial_limit=configuration.keep_partial_mib << 20,
        unreachable=unreachable,
    )


def registry_of_this_machine() -> RegistrySettings:
    """Return how the running machine reaches registries, be it one of bootd's or not.

    Raises:
        InvalidConfigurationError: a configuration file cannot be used.
    """
    return _registry(load(Path("/")).configuration, Path("/"), unreachable=None)


@contextmanager
def opened_host(directory: Path | None) -> Iterator[Host]:
    """Give a machine whose ``$BOOT`` is mounted for as long as the context lasts.

    Args:
        directory: see `open_host`; in a folder ``boot`` is a folder too.
    """
    with with_boot(open_host(directory)) as host:
        yield host


@contextmanager
def with_boot(host: Host) -> Iterator[Host]:
    """Give the same machine with its ``$BOOT`` mounted for as long as the context lasts.

    Where no partition is proven to be it, what only reads can go on; see `boot_partition`.
    """
    if host.sysroot.physical != PHYSICAL_ROOT:
        yield host
        return
    settings = host.configuration
    chosen = boot_partition(host.sysroot, settings.boot_partition, settings.boot_partitions)
    with chosen as sysroot:
        yield replace(host, sysroot=sysroot)
