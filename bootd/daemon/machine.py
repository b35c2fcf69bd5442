"""What the daemon knows of the machine: read off the disk, and again whenever that changed.

Nothing here is remembered that the disk does not say, so a daemon that was killed takes up where it
was. `look` costs a few ``stat`` calls: records are replaced by renames, which change their folder's
time. One read of the disk follows the other, so that an older one never replaces a newer one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from bootd import __version__
from bootd.boot.devices.mounts import automounted_at
from bootd.boot.loader.next_boot import setting_files
from bootd.daemon.event_loop import asyncio
from bootd.model.acceptance import POLICY_FILE
from bootd.model.deployment import DeploymentId
from bootd.model.documents import StatusDocument
from bootd.model.errors import BootdError
from bootd.model.etc.report import EtcCounts
from bootd.model.state import UpgradeState
from bootd.operations.etc_reports import merge_counts
from bootd.operations.host import Host, open_host, with_boot
from bootd.operations.recover import Recovery, recover, take_note_of_configuration
from bootd.operations.status import followed, status
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

_Stamp = tuple[int, ...]

_NANOSECONDS: Final = 1_000_000_000
_UNSETTLED_SECONDS: Final = 3
"""For how long after a change another one may leave a folder the same time: on VFAT, as ``$BOOT``
is, times are even seconds, and our clock tells whole ones."""


class Machine:
    """The host and its status.

    Args:
        directory: the sysroot's folder; None for the live host.

    Attributes:
        directory: as given.
        host: what operations are given.
        status: the newest status.
        etc: what the merge of ``/etc`` did, by deployment.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.host = open_host(directory)
        self.status = _unknown()
        self.etc: Mapping[DeploymentId, EtcCounts] = {}
        self._stamp: _Stamp = ()
        self._reading = asyncio.Lock()

    @property
    def live(self) -> bool:
        """The machine is the one this daemon runs on."""
        return self.directory is None

    async def recover(self) -> Recovery:
        """Bring the store to rest after a crash; return what happened while no daemon ran.

        A store that cannot be recovered is reported, and then shows in the status.
        """
        try:
            done = await asyncio.to_thread(self._recover)
        except BootdError as error:
            _log.warning("nothing was recovered: %s", error.message)
            return Recovery()
        for message in done.messages:
            _log.info("%s", message)
        return done

    def change(self, operation: Callable[..., object], *arguments: object, **more: object) -> None:
        """Carry out a quick operation, with ``$BOOT`` mounted; it blocks.

        Raises:
            BootdError: what the operation raises, or that ``$BOOT`` cannot be mounted.
        """
        with with_boot(self.host) as host:
            operation(host, *arguments, **more)

    def look_at_boot(self, view: Callable[[Host], BaseModel]) -> BaseModel:
        """Return what a view says of the machine with its ``$BOOT`` mounted; it blocks.

        Raises:
            BootdError: what the view raises, or that ``$BOOT`` cannot be mounted.
        """
        with with_boot(self.host) as host:
            return view(host)

    def _recover(self) -> Recovery:
        with with_boot(self.host) as host:
            return recover(host)

    async def reload(self) -> None:
        """Read the configuration anew, and the status with it."""
        self.host = await asyncio.to_thread(open_host, self.directory)
        try:
            await asyncio.to_thread(take_note_of_configuration, self.host)
        except BootdError as error:
            _log.warning("the configuration was not kept: %s", error.message)
        await self.read()

    async def look(self) -> bool:
        """Read the status if the disk changed, or may have changed; return whether it was read."""
        unchanged = await asyncio.to_thread(self._take_stamp) == self._stamp
        if unchanged and not self._hold_is_over():
            return False
        await self.read()
        return True

    def _hold_is_over(self) -> bool:
        until = self.status.held_until
        return until is not None and until <= self.host.clock.now()

    async def read(self) -> None:
        """Read the status; what is in the way of that becomes a problem in it."""
        async with self._reading:
            self._stamp, self.status, self.etc = await asyncio.to_thread(self._read)

    def _read(self) -> tuple[_Stamp, StatusDocument, Mapping[DeploymentId, EtcCounts]]:
        stamp = self._take_stamp()
        now = int(self.host.clock.now().timestamp())
        if any(abs(now - when // _NANOSECONDS) <= _UNSETTLED_SECONDS for when in stamp):
            # The next change might leave the very same stamp, so this one proves nothing.
            stamp = ()
        if _is_fresh(self.host.sysroot):
            return stamp, _fresh(self.host), {}
        try:
            with with_boot(self.host) as host:
                found = status(host)
                counts = merge_counts(host)
        except BootdError as error:
            return stamp, _unknown(error.message), {}
        return stamp, found, counts

    def _take_stamp(self) -> _Stamp:
        files = [path for path in setting_files(self.host.sysroot) if self._is_looked_at(path)]
        files.append(self.host.registry.root / POLICY_FILE)
        return tuple(_changed(path) for path in (*self.folders(), *files))

    def _is_looked_at(self, path: Path) -> bool:
        # An automount would be mounted for each look, and never be left for long.
        boot = self.host.sysroot.boot
        return not path.is_relative_to(boot) or automounted_at(boot) is None

    def folders(self) -> Iterator[Path]:
        """Yield the folders in which a change may change the status."""
        sysroot = self.host.sysroot
        yield from (sysroot.store, sysroot.deployments, sysroot.run)
        on_boot = (sysroot.boot / "loader", sysroot.boot / "loader/entries")
        yield from (path for path in on_boot if self._is_looked_at(path))
        yield sysroot.efi_variables
        for identifier in sysroot.deployment_ids():
            yield sysroot.deployment(identifier)


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _is_fresh(sysroot: Sysroot) -> bool:
    """Return whether no image was ever brought here: there is no store, or one just begun."""
    return not (sysroot.store / "format.json").exists() and not sysroot.deployment_ids()


def _fresh(host: Host) -> StatusDocument:
    problem = host.configuration_problem
    return _unknown(*([] if problem is None else [problem]), image=followed(host))


def _unknown(*problems: str, image: str | None = None) -> StatusDocument:
    return StatusDocument(
        bootd=__version__,
        image=image,
        state=UpgradeState.IDLE,
        booted=None,
        staged=None,
        queued=None,
        rollback=None,
        reboot_required=False,
        available=None,
        held_by=None,
        finalize_failure=None,
        last_fallback=None,
        deployments=[],
        problems=list(problems),
    )
