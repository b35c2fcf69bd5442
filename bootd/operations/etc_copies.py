"""Copies of files of ``/etc`` that would otherwise be gone: made, listed, removed in time.

A copy is an archive and a record. The archive is durable before the record that makes it known
appears, and goes after it, so that a cut leaves at most an archive that nobody knows of, which
`expire` removes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from bootd.etc.disk.archive import Packing
from bootd.etc.disk.descriptors import opened_folder
from bootd.model.deployment import DeploymentId
from bootd.model.errors import InvalidArgumentError, StorageError
from bootd.model.etc.change import (
    MAX_PATHS,
    CopyReason,
    EtcCopiesDocument,
    EtcCopy,
    KeptCopy,
    Undecided,
)
from bootd.model.etc.report import etc_path
from bootd.model.tree import Node
from bootd.operations.host import Host
from bootd.operations.machine.trusted_time import time_of_expiry, time_of_record
from bootd.records import MAX_ETC_BYTES, read_record, write_record

_ARCHIVE: Final = ".tar.gz"
_RECORD: Final = ".json"
_HINT: Final = "'bootctl-py etc copies' lists what is kept."
_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_log = logging.getLogger(__name__)


def archive_path(host: Host, name: str) -> Path:
    """Return where the archive of a copy is."""
    return host.sysroot.etc_copies / f"{name}{_ARCHIVE}"


def keep_copy(
    host: Host,
    deployment: DeploymentId,
    reason: CopyReason,
    entries: Sequence[tuple[bytes, Node]],
    absent: Iterable[bytes] = (),
    *,
    decided: Sequence[Undecided] = (),
) -> EtcCopy | None:
    """Keep what stands at some paths of a deployment's ``/etc``, durably.

    Args:
        host: the machine, locked by the caller.
        deployment: whose ``/etc`` they are in.
        reason: why they would be gone.
        entries: paths and what stands there, folders before what they hold.
        absent: paths at which nothing stands.
        decided: conflicts that are decided by what comes in their place.

    Returns:
        The copy; None where there is nothing to keep, or nothing is to be kept.

    Raises:
        NoSpaceError, WriteFailedError: it could not be written.
    """
    settings = host.configuration.etc
    missing = [etc_path(path) for path in absent]
    if not (entries or missing) or not (settings.keep_days and settings.keep_mib):
        return None
    name = _new_name(host, deployment, reason)
    archive = archive_path(host, name)
    if not host.sysroot.etc_copies.is_dir():
        host.sysroot.disk.make_directory(host.sysroot.etc_copies)
        host.sysroot.disk.sync_filesystem(host.sysroot.store)
    etc = host.sysroot.deployment(deployment) / "etc"
    with opened_folder(etc) as descriptor:
        packing = Packing(entries, descriptor, etc, settings.keep_mib << 20)
        host.sysroot.disk.replace_file_from(archive, packing.chunks())
    paths = [*(etc_path(path) for path, _ in entries), *missing]
    record = KeptCopy(
        name=name,
        deployment=deployment,
        reason=reason,
        created=time_of_record(host),
        size=archive.stat().st_size,
        paths=paths[:MAX_PATHS],
        more_paths=max(0, len(paths) - MAX_PATHS),
        left_out=[etc_path(path) for path in packing.left_out[:MAX_PATHS]],
        absent=missing[:MAX_PATHS],
        decided=list(decided),
    )
    write_record(host.sysroot.disk, _record_path(host, name), record)
    expire(host, spared=name)
    return record


def copies(host: Host) -> EtcCopiesDocument:
    """Return the copies, the newest first; what cannot be read is left out, and the log says so."""
    found = []
    for name in _names(host, _RECORD):
        try:
            found.append(read_copy(host, name))
        except (StorageError, InvalidArgumentError) as error:
            _log.warning("%s", error.message)
    found.sort(key=lambda one: (one.created, _number(one.name)), reverse=True)
    return EtcCopiesDocument(copies=found, keep_days=host.configuration.etc.keep_days)


def read_copy(host: Host, name: str) -> KeptCopy:
    """Return the record of a copy.

    Raises:
        InvalidArgumentError: there is none of that name.
        DamagedRecordError, UnknownFormatError: its record cannot be used.
    """
    if not _is_name(name):
        raise InvalidArgumentError(f"there is no copy {name[:100]!r}", hint=_HINT)
    found = read_record(_record_path(host, name), KeptCopy, MAX_ETC_BYTES)
    if found is None:
        raise InvalidArgumentError(f"there is no copy {name}", hint=_HINT)
    return found


def expire(host: Host, spared: str | None = None) -> None:
    """Remove copies that are too old, then the oldest until all are small enough, and leftovers.

    A clock that is wrong in this boot makes none of them old.

    Args:
        host: the machine, locked by the caller.
        spared: one that stays in any case, because it was made just now.
    """
    settings = host.configuration.etc
    oldest = time_of_expiry(host) - timedelta(days=settings.keep_days)
    room = settings.keep_mib << 20
    known = set()
    for one in copies(host).copies:
        room -= one.size
        if one.name != spared and (one.created < oldest or room < 0):
            host.sysroot.disk.remove_file(_record_path(host, one.name))
        else:
            known.add(one.name)
    unreadable = set(_names(host, _RECORD)) - known
    for name in _names(host, _ARCHIVE):
        if name not in known | unreadable:
            host.sysroot.disk.remove_file(archive_path(host, name))


def _new_name(host: Host, deployment: DeploymentId, reason: CopyReason) -> str:
    if reason is CopyReason.COLLECTED:
        # Once more after a cut it is the same copy.
        return deployment
    taken = [*_names(host, _RECORD), *_names(host, _ARCHIVE)]
    return f"{deployment}-{max(map(_number, taken), default=0) + 1}"


def _number(name: str) -> int:
    return int(name.partition("-")[2] or 0)


def _record_path(host: Host, name: str) -> Path:
    return host.sysroot.etc_copies / f"{name}{_RECORD}"


def _names(host: Host, suffix: str) -> list[str]:
    folder = host.sysroot.etc_copies
    if not folder.is_dir():
        return []
    names = (
        path.name.removesuffix(suffix) for path in folder.iterdir() if path.name.endswith(suffix)
    )
    return sorted(name for name in names if _is_name(name))


def _is_name(name: str) -> bool:
    identifier, _, number = name.partition("-")
    try:
        DeploymentId(identifier)
    except InvalidArgumentError:
        return False
    return name == identifier or _NUMBER.fullmatch(number) is not None
